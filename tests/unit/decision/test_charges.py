"""What placements take of quotas over all targets, as several copies of decision write it, each with its own view."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from services.decision import used
from services.decision.book import Written
from services.decision.charges import Behind, Charges, Holdings, QuotaDemand
from services.decision.charging import Charging
from services.decision.ledger import Ledger, key_of
from shared.broker.memory.store import MemoryBucket, MemoryStore
from shared.broker.store import MOST_SINCE, Bucket, Conflict, Raw, RawBucket, Store
from shared.broker.table import Table
from shared.model.quota import WorkspaceQuota
from shared.model.refs import PlacementRef, TargetRef
from shared.model.resources import Resources
from shared.model.target import Target
from shared.pipeline.buckets import CHARGES, RESERVATIONS
from tests.support.values import head
from tests.unit.decision.ledgers import wants
from tests.unit.decision.schedules import opened
from tests.unit.decision.steps import Steps, StepStore

X = PlacementRef(workspace="root:team", namespace="apps", name="x")
QUOTA = WorkspaceQuota(workspace="root", name="team", uid="q", bounds="root:team", hard={"cpu": 4.0})
A, B = (Target(workspace="root:p", name=name, ready=True, allocatable={"cpu": 4.0}) for name in ("a", "b"))
EPOCH = 1


class Copy:
    """A copy of decision's ledger and charges, which hear of nothing by themselves."""

    def __init__(self, store: Store) -> None:
        reservations, charges = Table(store, RESERVATIONS), Table(store, CHARGES)
        self.ledger = Ledger(reservations, reservations.follow())
        self.charges = Charges(charges, charges.follow())

    async def charge(self, placement: PlacementRef, attempt: int, **targets: float) -> Written | None:
        """Charge a placement with so much cpu, by target."""
        wanted = QuotaDemand(placement=placement, head=head(attempt), targets=_cpu(targets))
        return await self.charges.charge(QUOTA, wanted, self.ledger.holdings(placement, EPOCH))

    def charging(self, placement: PlacementRef, attempt: int, **targets: float) -> Charging:
        wanted = QuotaDemand(placement=placement, head=head(attempt), targets=_cpu(targets))
        return Charging(self.ledger, self.charges, self.ledger, [QUOTA], wanted, epoch=EPOCH)


def _cpu(targets: dict[str, float]) -> dict[str, Resources]:
    return {TargetRef(workspace="root:p", name=name).key: {"cpu": cpu} for name, cpu in targets.items()}


@pytest.fixture
async def store() -> MemoryStore:
    store = MemoryStore()
    await store.provision((RESERVATIONS, CHARGES))
    return store


async def test_a_copy_that_does_not_know_what_was_given_back_before_a_quota_was_counted_reads_that_first(store) -> None:
    one, other = Copy(store), Copy(store)
    for target in (A, B):
        assert await one.ledger.reserve(target, wants(X, head(1), {"cpu": 2.0}))
    await other.ledger.catch_up()
    await one.ledger.release(TargetRef.of(B).key, X, head(1))
    await one.charges.count(QUOTA.place, X, head(1), one.ledger.holdings(X, EPOCH))
    await one.charges.mark_counted(QUOTA)
    with pytest.raises(Behind):
        await other.charge(X, 2, a=2.0, b=2.0)
    await other.ledger.catch_up()
    assert (await other.charge(X, 2, a=2.0, b=2.0)) is not None
    assert other.charges.used(QUOTA)["cpu"] == 4.0


async def test_a_copy_that_knows_all_of_a_placement_need_not_know_what_others_did_since(store) -> None:
    one, other = Copy(store), Copy(store)
    assert await one.ledger.reserve(A, wants(X, head(1), {"cpu": 2.0}))
    await other.ledger.catch_up()
    assert await one.ledger.reserve(B, wants(msgspec.structs.replace(X, name="y"), head(1), {"cpu": 2.0}))
    await one.ledger.catch_up()
    await one.charges.count(QUOTA.place, X, head(1), one.ledger.holdings(X, EPOCH))
    await one.charges.mark_counted(QUOTA)
    assert await other.charge(X, 2, a=2.0) is not None


async def test_a_copy_that_starts_when_what_was_given_back_is_forgotten_is_not_behind(store) -> None:
    one, other = Copy(store), Copy(store)
    await one.charges.mark_counted(QUOTA)
    await one.charge(X, 1, a=2.0)
    forgotten = Holdings(targets={}, revision=9, newest=9, epoch=EPOCH)  # of reservations of which nothing is left
    await one.charges.give_back(QUOTA.place, X, head(1), forgotten)
    with pytest.raises(Behind):
        await other.charge(X, 2, a=2.0)
    assert await other.charging(X, 2, a=2.0).reserve(A, wants(X, head(2), {"cpu": 2.0}))


async def test_a_copy_whose_server_is_behind_does_not_take_for_forgotten_what_it_cannot_see_yet() -> None:
    class Behindhand(MemoryBucket):
        async def since(self, revision: int, prefix: str = "") -> list[Raw]:
            return []

    class Store(MemoryStore):
        def raw(self, bucket: Bucket[Any]) -> RawBucket:
            return self.behindhand

        behindhand = Behindhand()

    store = Store()
    assert await Copy(store).ledger.reserve(A, wants(X, head(1), {"cpu": 2.0}))
    other = Copy(store)
    await other.ledger.catch_up(1)
    assert other.ledger.seen == 0


async def test_what_another_copy_gave_back_before_it_could_be_undone_is_charged_again(store) -> None:
    one, other, late = Copy(store), Copy(store), Copy(store)
    await one.charges.mark_counted(QUOTA)
    attempt = one.charging(X, 1, a=2.0)
    written = await attempt.reserve(A, wants(X, head(1), {"cpu": 2.0}))
    assert written is not None
    await late.ledger.catch_up()
    await other.ledger.release(TargetRef.of(A).key, X, head(2))
    await attempt.undo([written])
    with pytest.raises(Behind):
        await late.charge(X, 3, a=2.0)


async def test_whoever_lowers_a_charge_leaves_what_an_earlier_one_went_by(store) -> None:
    one = Copy(store)
    await one.charges.mark_counted(QUOTA)
    await one.charge(X, 1, a=4.0)
    for cpu, newest in ((2.0, 9), (1.0, 7)):
        held = Holdings(targets=_cpu({"a": cpu}), revision=newest, newest=newest, epoch=EPOCH)
        await one.charges.give_back(QUOTA.place, X, head(1), held)
    assert [(each.resources["cpu"], each.as_of) for each in one.charges.of(QUOTA)] == [(1.0, 9)]


async def test_to_catch_up_is_to_know_all_however_much_is_heard_meanwhile(store) -> None:
    table = Table(store, RESERVATIONS)
    for number in range(3 * MOST_SINCE):
        placement = msgspec.structs.replace(X, name=f"x-{number}")
        await table.put(key_of(A.id, placement), wants(placement, head(1), {"cpu": 0.001}))
    steps = Steps()
    copy = Copy(StepStore(store, steps))
    reading = asyncio.create_task(copy.ledger.catch_up())
    await steps.settle()
    copy.ledger.seen = 2 * MOST_SINCE - 1
    await steps.let(reading, 10)
    assert copy.ledger.seen == 3 * MOST_SINCE


async def charged(store: MemoryStore) -> dict[str, float]:
    entries = await Table(store, CHARGES).entries(QUOTA.place)
    return {each.value.placement.name: each.value.resources.get("cpu", 0.0) for each in entries}


async def test_what_is_counted_anew_stays_charged_whoever_is_forgetting_the_quota() -> None:
    async with AsyncExitStack() as stack:
        world = await opened(stack, 2, quota=QUOTA)
        one, other = world.deciders
        await world.ask(0, 2.0, 0)
        await world.deliver(0, 0)
        await world.finish()
        await world.steps.let(asyncio.create_task(other.charges.catch_up()), 10)
        forgetting = asyncio.create_task(other.charges.forget(QUOTA.place))
        await world.steps.let(forgetting, 1)
        assert await charged(world.store) == {"x": 2.0}
        await world.steps.let(asyncio.create_task(one.charges.catch_up()), 10)
        counting = asyncio.create_task(used.keep_counted(one))
        await world.steps.let(counting, 100)
        await world.steps.let(forgetting, 10)
        with pytest.raises(Conflict):
            await forgetting
        assert await charged(world.store) == {"": 0.0, "x": 2.0}
        counting.cancel()


async def test_what_another_copy_forgot_already_is_not_known_any_more(store) -> None:
    one, other = Copy(store), Copy(store)
    await one.charges.mark_counted(QUOTA)
    await one.charge(X, 1, a=2.0)
    await other.charges.catch_up()
    await one.charges.forget(QUOTA.place)
    with pytest.raises(Conflict):
        await other.charges.forget(QUOTA.place)
    assert other.charges.places() == set()


async def test_a_quota_that_is_gone_is_forgotten_with_all_that_is_charged_to_it(store) -> None:
    one = Copy(store)
    await one.charges.mark_counted(QUOTA)
    await one.charge(X, 1, a=2.0)
    await one.charges.forget(QUOTA.place)
    assert await charged(store) == {}
    assert one.charges.places() == set()
