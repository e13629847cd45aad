"""Nominations: room that is held for a placement while others leave. Nobody else takes it, and it does not last."""

from collections.abc import Collection
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from services.decision.book import Superseded
from services.decision.holds import TakingOver
from services.decision.ledger import Ledger
from services.decision.preempting import Leaving
from services.decision.settings import DecisionSettings
from services.decision.settling import Ranks, settle
from shared.api import PlacementSpec
from shared.broker.memory.store import MemoryStore
from shared.broker.store import Raw
from shared.broker.table import Table
from shared.hub.access import Access, Action
from shared.model.decision import Choice, Preemption, Proposal, Refusal, Reservation
from shared.model.preemption import Victim
from shared.model.reasons import RefusalCode
from shared.model.refs import Head, PlacementRef, TargetRef
from shared.model.request import Cause, HeadEntry, Preempting, Request, Requester
from shared.model.target import Target
from shared.pipeline.buckets import BUCKETS, HEADS, INVENTORY, RESERVATIONS, VICTIMS
from shared.pipeline.messages import Scheduled
from tests.unit.decision.ledgers import nominations_over

EAST = "root:p/east"
PREFIX = TargetRef.parse(EAST).key
URGENT = PlacementRef(workspace="root:team", namespace="apps", name="urgent")
OLD = PlacementRef(workspace="root:team", namespace="apps", name="old")
STRANGER = PlacementRef(workspace="root:other", namespace="apps", name="stranger")


class Owner(Access):
    """Lets those preempt whom it names."""

    def __init__(self) -> None:
        self.lets = {"alice"}
        self.asked: list[Action] = []

    async def may(self, requester: Requester | None, workspace: str, action: Action) -> Any:
        self.asked.append(action)
        return "Allowed" if requester is not None and requester.username in self.lets else "Denied"

    async def may_use(self, requester: Any, targets: Collection[str], within: float | None = None) -> Any:
        return dict.fromkeys(targets, "Allowed")


def at(attempt: int = 1, uid: str = "u") -> Head:
    return Head(uid=uid, generation=1, attempt=attempt)


class Scene:
    """A target of four cores that `old` (3 of them, of rank 0) and a stranger run in, and `urgent` that wants 2."""

    def __init__(self, store: MemoryStore) -> None:
        self.now = 1000.0
        self.access = Owner()
        self.table, self.victims = Table(store, RESERVATIONS), Table(store, VICTIMS)
        inventory, self.heads = Table(store, INVENTORY).follow(), Table(store, HEADS).follow()
        self.target = Target(workspace="root:p", name="east", ready=True, allocatable={"cpu": 4.0})
        inventory._take(Raw(PREFIX, msgspec.json.encode(self.target), 1))
        self.inventory = inventory
        self.ledger = Ledger(self.table, self.table.follow(), lambda: self.now)
        settings = DecisionSettings(preemption=True, preemption_seconds=60.0)
        self.store, self.settings = store, settings
        self.nominations = self.another()

    def another(self, ledger: Ledger | None = None, **settings: Any) -> Any:
        """What another copy has, or the same one after it was started anew."""
        return nominations_over(
            self.store,
            ledger or self.ledger,
            self.access,
            self.inventory,
            self.heads,
            replace(self.settings, **settings),
            lambda: self.now,
        )

    async def hold(self, ref: PlacementRef, cpu: float, rank: int | None = 0) -> Any:
        wanted = Reservation(placement=ref, head=at(), resources={"cpu": cpu}, rank=rank)
        return await self.ledger.reserve(self.target, wanted)

    def message(self, attempt: int = 1, rank: int = 10, victims: tuple[PlacementRef, ...] = (OLD,)) -> Scheduled:
        choice = Choice(target=EAST, score=50.0, reserve={"cpu": 2.0})
        request = Request(
            placement=URGENT,
            head=at(attempt),
            cause=Cause(code="Created"),
            spec=PlacementSpec(priority=rank, preemption_policy="PreemptLowerPriority"),
            requester=Requester(username="alice"),
            preempting=Preempting(targets=(EAST,), rank=rank),
        )
        proposal = Proposal(
            strategy="BestFit",
            refusal=Refusal(code=RefusalCode.PREEMPTING, message="1 placement of lower priority has to leave"),
            preemption=Preemption(choices=(choice,), victims={EAST: victims}),
        )
        return Scheduled(request=request, proposal=proposal, inventory_revision=0)

    async def nominate(self, message: Scheduled | None = None) -> str:
        settled = await self.nominations.nominate(message or self.message(), Leaving(self.ledger), {EAST}, 0)
        await self.nominations.tell()
        return settled.refusal.code

    async def told(self) -> list[Victim]:
        return [each.value for each in await self.victims.entries()]

    async def free(self) -> float:
        return 4.0 - self.ledger.reserved(EAST).get("cpu", 0.0)

    async def take(self, *, hold: bool) -> bool:
        """Whether the one that waits can be decided now."""
        choice = Choice(target=EAST, score=50.0, reserve={"cpu": 2.0})
        message = replace(self.message(2), proposal=Proposal(strategy="BestFit", selected=(choice,), feasible=1))
        taking = TakingOver(self.ledger, *(self.nominations.of(URGENT) if hold else ()))
        settled = await settle(message, taking, self.inventory, {EAST}, 0)
        return settled.refusal is None


@pytest.fixture
async def scene() -> Scene:
    store = MemoryStore()
    await store.provision(BUCKETS)
    found = Scene(store)
    assert await found.hold(OLD, 3.0)
    assert await found.hold(STRANGER, 1.0, rank=20)
    return found


async def test_the_room_is_held_and_who_has_to_leave_is_told(scene: Scene) -> None:
    assert await scene.nominate() == RefusalCode.PREEMPTING
    assert await scene.told() == [Victim(placement=OLD, target=EAST, by=(URGENT,))]
    assert not await scene.take(hold=True), "nothing runs there before the other one has left"
    await scene.ledger.release(PREFIX, OLD, at())
    await scene.nominations.tell()
    assert await scene.told() == []
    assert await scene.hold(replace(OLD, name="newcomer"), 2.0) is None, "nobody else takes the room"
    assert await scene.take(hold=True)
    await scene.nominations.end(URGENT)
    assert await scene.free() == 1.0


async def test_it_is_held_once_however_often_the_message_comes_and_whoever_gets_it(scene: Scene) -> None:
    await scene.nominate()
    assert await scene.nominate() == RefusalCode.PREEMPTING
    fresh = Ledger(scene.table, scene.table.follow(), lambda: scene.now)
    await fresh._reread(PREFIX)
    again = scene.another(fresh)
    settled = await again.nominate(scene.message(), Leaving(fresh), {EAST}, 0)
    assert settled.refusal is not None
    assert settled.refusal.code == RefusalCode.PREEMPTING
    await again.tell()
    assert [each.value.resources for each in await scene.table.entries() if each.value.until] == [{"cpu": 2.0}]
    assert len(await scene.told()) == 1


async def test_a_copy_that_is_behind_does_not_let_those_off_who_have_to_leave(scene: Scene) -> None:
    await scene.nominate()
    behind = Ledger(scene.table, scene.table.follow(), lambda: scene.now)
    await scene.another(behind).nominate(scene.message(), Leaving(behind), {EAST}, 0)
    assert [each.value.victims for each in await scene.table.entries() if each.value.until] == [(OLD,)]


async def test_two_do_not_have_the_same_room_held(scene: Scene) -> None:
    await scene.nominate()
    message = scene.message()
    other = replace(message, request=replace(message.request, placement=replace(URGENT, name="second")))
    assert await scene.nominate(other) == RefusalCode.CONTENDED
    assert [each.by for each in await scene.told()] == [(URGENT,)]


@pytest.mark.parametrize("rank", [10, 11, None])
async def test_nobody_leaves_who_is_not_below_it_any_more(scene: Scene, rank: int | None) -> None:
    await scene.hold(OLD, 3.0, rank)
    assert await scene.nominate() == RefusalCode.CONTENDED
    assert await scene.told() == []


@pytest.mark.parametrize(("budget", "said"), [(1, RefusalCode.CONTENDED), (2, RefusalCode.PREEMPTING)])
async def test_nobody_has_to_leave_more_targets_at_a_time_than_its_budget_is(
    scene: Scene, budget: int, said: str
) -> None:
    west = replace(scene.target, name="west")
    old = Reservation(placement=OLD, head=at(), resources={"cpu": 2.0}, rank=0, budget=budget)
    for there in (scene.target, west):
        assert await scene.ledger.reserve(there, old)
    other = replace(URGENT, name="other").nomination
    awaits = Reservation(placement=other, head=at(), resources={"cpu": 3.0}, until=scene.now + 60, victims=(OLD,))
    assert await scene.ledger.reserve(west, awaits, OLD)
    assert await scene.nominate() == said
    await scene.ledger.release(TargetRef.of(west).key, OLD, at())
    assert await scene.nominate() == RefusalCode.PREEMPTING, "it is gone from there"


async def test_a_right_that_was_taken_away_meanwhile_counts_no_more(scene: Scene) -> None:
    scene.access.lets.clear()
    assert await scene.nominate() == RefusalCode.NOT_AUTHORIZED
    assert await scene.told() == []


async def test_where_it_is_not_switched_on_nobody_is_asked_and_nobody_leaves(scene: Scene) -> None:
    scene.nominations = scene.another(preemption=False)
    assert (await scene.nominations.ranks(scene.message().request, {EAST})) == Ranks()
    await scene.nominate()
    assert await scene.told() == []
    assert scene.access.asked == []


async def test_who_does_not_leave_in_time_stays_until_it_is_decided_anew(scene: Scene) -> None:
    await scene.nominate()
    scene.now += 61.0
    await scene.nominations.give_up()
    await scene.ledger.end_holds(lambda each: each.until <= scene.now)
    await scene.nominations.tell()
    assert await scene.told() == []
    assert scene.ledger.holding(PREFIX, OLD).rank is None
    assert await scene.nominate() == RefusalCode.CONTENDED


async def test_nobody_leaves_for_one_that_is_gone(scene: Scene) -> None:
    await scene.nominate()
    gone = HeadEntry(head=at(2), digest="", deleted=True)
    scene.heads._take(Raw(URGENT.key, msgspec.json.encode(gone), 1))
    await scene.nominations.give_up()
    await scene.nominations.tell()
    assert await scene.told() == []
    assert scene.ledger.holding(PREFIX, OLD).rank == 0


async def test_what_another_copy_told_stands_while_its_nomination_does(scene: Scene) -> None:
    await scene.nominate()
    blind = scene.another(Ledger(scene.table, scene.table.follow(), lambda: scene.now))
    blind._victims.entries.update({"x": None})  # it has seen that there are some, and no nomination
    await blind.tell()
    assert len(await scene.told()) == 1
    await scene.nominations.end(URGENT)
    await blind.tell()
    assert await scene.told() == []


async def test_an_older_attempt_holds_nothing_against_a_newer_one(scene: Scene) -> None:
    await scene.ledger.reserve(
        scene.target, Reservation(placement=URGENT.nomination, head=at(5), resources={}, until=0.0)
    )
    with pytest.raises(Superseded):
        await scene.nominations.nominate(scene.message(2), Leaving(scene.ledger), {EAST}, 0)


async def test_it_is_evicted_only_from_where_somebody_waits_for_its_room(scene: Scene) -> None:
    request = replace(scene.message().request, placement=OLD, preempted={EAST: "placement urgent", "root:p/w": "x"})
    assert scene.nominations.evicted(request) == frozenset()
    await scene.nominate()
    assert scene.nominations.evicted(request) == {EAST}


def test_a_priority_counts_where_its_requester_may_preempt() -> None:
    assert [Ranks().of(each, EAST) for each in (-1, 0, 5)] == [-1, 0, None]
    assert [Ranks({EAST}, 7).of(each, EAST) for each in (-1, 5, 9)] == [-1, 5, 7]
    assert Ranks({EAST}, 7).of(5, "root:p/west") == 0
