"""What is reserved of a proposal, and for whom."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from services.decision.core import proposed
from services.decision.ledger import Ledger, key_of
from services.decision.settling import settle
from shared.api import PlacementSpec
from shared.broker.memory.store import MemoryStore
from shared.broker.table import Table, View
from shared.broker.tokens import join
from shared.model.decision import Choice, Proposal, Reservation
from shared.model.refs import Head, PlacementRef
from shared.model.request import Cause, PreviousChoice, Request
from shared.model.target import Target
from shared.pipeline.buckets import BUCKETS, INVENTORY, RESERVATIONS
from shared.pipeline.messages import Scheduled

REF = PlacementRef(workspace="root:team", namespace="apps", name="web")
READY = {"ready": True, "allocatable": {"cpu": 4.0}}


class Desk:
    """The parts of the decision worker that settling needs, over state in memory."""

    def __init__(self, reservations: Table[Reservation], inventory: View[Target]) -> None:
        self.reservations = reservations
        self.inventory = inventory
        self.denied: set[str] = set()
        self.ledger = Ledger(reservations, reservations.follow())

    async def settle(
        self, *names: str, others: tuple[str, ...] = (), cpu: float = 1.0, attempt: int = 1, **request: Any
    ) -> list[str] | str:
        """The targets that are taken of those proposed and of `others`, or the code of the refusal."""
        asked = Request(
            placement=REF,
            head=Head(uid="u", generation=1, attempt=attempt),
            cause=Cause(code="Created"),
            spec=msgspec.convert(request.pop("spec", {}), PlacementSpec),
            **request,
        )
        selected, alternates = (
            tuple(Choice(target=f"root:p/{name}", score=50.0, reserve={"cpu": cpu}) for name in each)
            for each in (names, others)
        )
        proposal = Proposal(strategy="BestFit", selected=selected, alternates=alternates, feasible=len(names + others))
        scheduled = Scheduled(request=asked, proposal=proposal, inventory_revision=0)
        allowed = proposed(proposal) - self.denied
        settled = await settle(scheduled, self.ledger, self.inventory, allowed, 0)
        return settled.refusal.code if settled.refusal else [choice.target for choice in settled.taken]

    async def reservation(self, name: str) -> Reservation:
        entry = await self.reservations.get(key_of(f"root:p/{name}", REF))
        assert entry is not None
        return entry.value


@asynccontextmanager
async def desk(**targets: dict[str, Any]) -> AsyncIterator[Desk]:
    store = MemoryStore()
    await store.provision(BUCKETS)
    inventory = Table(store, INVENTORY)
    for name, facts in targets.items():
        await inventory.put(join("root:p", name), Target(workspace="root:p", name=name, **facts))
    view = inventory.follow()
    following = asyncio.create_task(view.run())
    await view.synced.wait()
    yield Desk(Table(store, RESERVATIONS), view)
    following.cancel()


async def test_a_reservation_carries_the_labels_of_its_placement() -> None:
    async with desk(a=READY) as here:
        assert await here.settle("a", labels={"app": "db"}) == ["root:p/a"]
        assert (await here.reservation("a")).labels == {"app": "db"}


@pytest.mark.parametrize(
    ("cpu", "leaving", "expected"),
    [
        (2.0, (), ["root:p/a"]),
        (1.0, (), ["root:p/a"]),
        (3.0, (), "Contended"),
        (2.0, ("root:p/a",), "Contended"),
    ],
)
async def test_a_placement_keeps_what_it_holds_in_a_target_that_is_waited_for(cpu, leaving, expected) -> None:
    async with desk(a={"ready": False}) as here:
        held = Reservation(placement=REF, head=Head(uid="u", generation=1, attempt=1), resources={"cpu": 2.0})
        await here.reservations.put(key_of("root:p/a", REF), held)
        previous = (PreviousChoice(target="root:p/a"),)
        assert await here.settle("a", cpu=cpu, attempt=2, previous=previous, leaving=leaving) == expected


async def test_a_newcomer_gets_nothing_in_a_target_that_is_not_ready() -> None:
    async with desk(a={**READY, "ready": False}) as here:
        assert await here.settle("a") == "Contended"


async def test_what_the_requester_may_not_use_any_more_is_not_reserved() -> None:
    async with desk(a=READY, b=READY) as here:
        here.denied = {"root:p/a"}
        assert await here.settle("a", others=("b",)) == "NotAuthorized"
        assert await here.reservations.entries() == []


async def test_an_alternate_that_the_requester_may_not_use_takes_no_place() -> None:
    small = {"ready": True, "allocatable": {"cpu": 0.5}}
    async with desk(a=small, b=READY, c=READY) as here:
        here.denied = {"root:p/b"}
        assert await here.settle("a", others=("b", "c")) == ["root:p/c"]


async def test_a_least_count_in_percent_is_of_the_targets_that_fitted() -> None:
    small = {"ready": True, "allocatable": {"cpu": 0.5}}
    spec = {"targets": {"count": {"min": "50%", "max": "100%"}}}
    async with desk(a=READY, b=READY, c=small, d=small) as here:
        assert await here.settle("a", "b", "c", "d", spec=spec) == ["root:p/a", "root:p/b"]
    async with desk(a=READY, b=small, c=small, d=small) as here:
        assert await here.settle("a", "b", "c", "d", spec=spec) == "Contended"


async def test_an_alternate_takes_the_place_of_a_target_whose_quota_was_used_up_meanwhile() -> None:
    tight = {**READY, "quotas": {"root:team": {"cpu": 1.5}}}
    async with desk(a=tight, b=READY) as here:
        neighbour = PlacementRef(workspace="root:team:dev", namespace="apps", name="web")
        head = Head(uid="v", generation=1, attempt=1)
        await here.reservations.put(
            key_of("root:p/a", neighbour), Reservation(placement=neighbour, head=head, resources={"cpu": 1.0})
        )
        assert await here.settle("a", others=("b",)) == ["root:p/b"]
        assert await here.settle("a", others=("b",), cpu=0.5, attempt=2) == ["root:p/a"]
        assert await here.settle("a", attempt=3, spec={"replicas": {"division": "Dynamic"}}) == "Contended"
        assert (await here.reservation("a")).resources == {"cpu": 0.5}


async def test_a_placement_may_shrink_in_a_target_that_has_less_by_now_than_it_holds() -> None:
    async with desk(a={**READY, "allocatable": {"cpu": 2.0}, "quotas": {"root:team": {"cpu": 2.0}}}) as here:
        held = Reservation(placement=REF, head=Head(uid="u", generation=1, attempt=1), resources={"cpu": 4.0})
        await here.reservations.put(key_of("root:p/a", REF), held)
        assert await here.settle("a", cpu=1.0, attempt=2) == ["root:p/a"]


async def test_of_an_empty_proposal_nothing_is_reserved_and_nothing_refused() -> None:
    async with desk(a=READY) as here:
        assert await here.settle(spec={"targets": {"count": {"min": 0}}}) == []
