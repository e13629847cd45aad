"""What exceeds a quota over all targets is not proposed, and what decision would take is."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.scheduler.quotas import QuotaCheck
from shared.api import PlacementSpec
from shared.broker.memory.store import MemoryStore
from shared.broker.table import Table
from shared.hub.quotas import Charged, Quotas
from shared.model.decision import Choice, Preemption, Proposal, Reservation
from shared.model.quota import WorkspaceQuota
from shared.model.refs import PlacementRef
from shared.model.request import Cause, Request, Requester
from shared.pipeline.buckets import BUCKETS, CHARGES, QUOTAS
from tests.support.values import head
from tests.support.waiting import until

REF = PlacementRef(workspace="root:team", namespace="apps", name="web")
OTHER = PlacementRef(workspace="root:team", namespace="apps", name="other")
TEAM = WorkspaceQuota(workspace="root", name="team", uid="q", bounds="root:team", hard={"cpu": 4.0, "placements": 2.0})


class Scene:
    """A check that knows of one quota, and what is charged to it."""

    def __init__(self, store: MemoryStore) -> None:
        self.table, self.quotas = Table(store, CHARGES), Table(store, QUOTAS)
        self.bounds = self.quotas.follow()
        self.view = self.table.follow()
        self.charged = Charged(self.view)
        self.check = QuotaCheck(Quotas(self.bounds), self.charged)

    async def charge(self, ref: PlacementRef, cpu: float) -> None:
        amounts = {"cpu": cpu, "placements": 1.0}
        await self.table.put(f"{TEAM.place}.{ref.key}", Reservation(placement=ref, head=head(), resources=amounts))
        await until(lambda: self.charged.own(TEAM, ref) == amounts)

    def refused(self, cpu: float, *, hold: str = "", leaving: bool = False) -> bool:
        choices = (Choice(target="root:p/a", score=50.0, reserve={"cpu": cpu}),)
        request = Request(
            placement=REF,
            head=head(),
            cause=Cause(code="Created"),
            spec=PlacementSpec(),
            requester=Requester(username="alice"),
            hold=hold,
        )
        proposal = Proposal(strategy="BestFit", selected=choices, feasible=1)
        if leaving:
            proposal = Proposal(strategy="BestFit", preemption=Preemption(choices=choices, victims={}))
        found = self.check.within(request, proposal)
        assert found is proposal or (found.preemption is None and not found.selected)
        return found is not proposal


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    store = MemoryStore()
    await store.provision(BUCKETS)
    found = Scene(store)
    await found.quotas.put(TEAM.place, TEAM)
    tasks = [asyncio.create_task(each) for each in (found.bounds.run(), found.view.run(), found.check.follow())]
    await until(lambda: found.bounds.get(TEAM.place) == TEAM)
    yield found
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_exceeds_what_is_left_is_refused_and_nobody_leaves_for_it(scene: Scene) -> None:
    await scene.charge(OTHER, 1.0)
    assert not scene.refused(3.0)
    assert scene.refused(3.1)
    assert not scene.refused(3.0, leaving=True)
    assert scene.refused(3.1, leaving=True)


async def test_what_it_is_charged_with_is_room_for_it(scene: Scene) -> None:
    await scene.charge(OTHER, 1.0)
    await scene.charge(REF, 3.0)
    assert not scene.refused(3.0)
    assert scene.refused(3.1)


async def test_what_is_held_for_it_counts_once(scene: Scene) -> None:
    await scene.charge(OTHER, 1.0)
    await scene.charge(REF.nomination, 3.0)
    assert not scene.refused(3.0)
    assert not scene.refused(3.0, leaving=True)
    assert scene.refused(3.1)
    await scene.charge(REF.nomination, 1.0)
    await scene.charge(REF.hold("q", "alice"), 2.0)
    assert scene.refused(3.0)
    assert not scene.refused(3.0, hold="q")
    assert scene.refused(3.0, hold="another")
