"""What is held for a placement is charged to its quotas once: by whom it is held first, and then by the placement."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from msgspec.structs import replace

from services.decision import holds
from services.decision.answering import answer
from services.decision.settings import DecisionSettings
from shared.broker.table import Table
from shared.hub.quotas import NOBODY
from shared.model.decision import Choice, Preemption, Proposal, Refusal, Reservation
from shared.model.quota import WorkspaceQuota
from shared.model.reasons import RefusalCode
from shared.model.refs import Head, PlacementRef, TargetRef
from shared.model.request import Preempting, Question, Requester
from shared.model.resources import Resources
from shared.pipeline.buckets import CHARGES, VICTIMS
from shared.pipeline.messages import Scheduled
from tests.unit.decision.schedules import REFS, TARGETS, World, opened, scheduled

URGENT = REFS[0]
A = TARGETS[0]
VICTIM = PlacementRef(workspace="root:other", namespace="apps", name="old")
ROOT = WorkspaceQuota(workspace="root", name="team", uid="q", bounds="root:team", hard={"cpu": 2.0, "placements": 1.0})


class Bounded(World):
    """A world whose team has a quota, and where another one holds three of the four cores of a target."""

    attempt = 0

    def message(self, ref: PlacementRef = URGENT, cpu: float = 2.0) -> Scheduled:
        self.attempt += 1
        head = Head(uid=ref.name, generation=1, attempt=self.attempt)
        found = scheduled(ref, head, cpu, [A.id], [])
        asker = Requester(username="alice")
        return replace(found, request=replace(found.request, requester=asker))

    def preempting(self, cpu: float = 2.0) -> Scheduled:
        """One that others have to leave for."""
        found = self.message(cpu=cpu)
        proposal = Proposal(
            strategy="BestFit",
            refusal=Refusal(code=RefusalCode.PREEMPTING, message="1 placement of lower priority has to leave"),
            preemption=Preemption(
                choices=(Choice(target=A.id, score=50.0, reserve={"cpu": cpu}),), victims={A.id: (VICTIM,)}
            ),
        )
        request = replace(found.request, preempting=Preempting(targets=(A.id,), rank=10))
        return replace(found, request=request, proposal=proposal)

    async def handled(self, message: Scheduled) -> str:
        """The refusal of what is decided then, if it is one."""
        self.pending.append(message)
        await self.finish()
        return self.hub.decided[message.request.placement][1].refusal

    async def done(self, work: Awaitable[Any]) -> Any:
        task = asyncio.ensure_future(work)
        while not task.done():
            await self.steps.let(task, 1)
        return task.result()

    async def leaves(self) -> None:
        """The other one is gone from the target."""
        gone = Reservation(placement=VICTIM, head=Head(uid="v", generation=1, attempt=1), resources={}, released_at=1.0)
        await self.other(gone)

    async def other(self, reservation: Reservation) -> None:
        await self.table.put(f"{TargetRef.of(A).key}.{VICTIM.key}", reservation)
        await self.tell(0, 1000)

    async def charged(self) -> dict[str, Resources]:
        entries = await Table(self.store, CHARGES).entries(ROOT.place)
        found = {each.value.placement: each.value.resources for each in entries}
        return {ref.name: amounts for ref, amounts in found.items() if amounts and ref != NOBODY}


@pytest.fixture
async def world() -> AsyncIterator[Bounded]:
    async with AsyncExitStack() as stack:
        found = await opened(stack, 1, Bounded, quota=ROOT, settings=DecisionSettings(preemption=True))
        head = Head(uid="v", generation=1, attempt=1)
        await found.other(Reservation(placement=VICTIM, head=head, resources={"cpu": 3.0}, rank=0))
        yield found


TWO = {"cpu": 2.0, "placements": 1.0}


async def test_who_waits_for_others_to_leave_is_charged_once_and_takes_it_over(world: Bounded) -> None:
    for _ in range(3):  # it is proposed again as long as they have not left
        assert await world.handled(world.preempting()) == RefusalCode.PREEMPTING
        assert await world.charged() == {URGENT.nomination.name: TWO}
    await world.leaves()
    assert await world.handled(world.message()) == ""
    assert await world.charged() == {URGENT.name: TWO}


async def test_nobody_leaves_for_what_a_quota_has_no_room_for(world: Bounded) -> None:
    assert await world.handled(world.preempting(cpu=2.5)) == RefusalCode.QUOTA_EXCEEDED
    assert await Table(world.store, VICTIMS).entries() == []
    assert not world.deciders[0].ledger.held_by(URGENT.nomination)
    assert await world.charged() == {}


async def test_what_waits_for_others_to_leave_is_not_taken_by_another_of_its_workspace(world: Bounded) -> None:
    await world.handled(world.preempting())
    assert await world.handled(world.message(REFS[1], cpu=1.0)) == RefusalCode.QUOTA_EXCEEDED
    assert await world.charged() == {URGENT.nomination.name: TWO}


async def test_it_has_its_part_back_when_it_does_not_wait_any_more(world: Bounded) -> None:
    await world.handled(world.preempting())
    refused = Refusal(code=RefusalCode.NO_FEASIBLE_TARGET, message="none")
    message = replace(world.message(), proposal=Proposal(strategy="BestFit", refusal=refused))
    assert await world.handled(message) == RefusalCode.NO_FEASIBLE_TARGET
    assert await world.charged() == {}


async def test_it_has_its_part_back_when_they_did_not_leave_in_time(world: Bounded) -> None:
    await world.handled(world.preempting())
    decider = world.deciders[0]
    until = decider.nominations.until()
    assert await world.done(holds.end_holds(decider.ledger, decider.charges, lambda each: each.until <= until)) == 1
    assert await world.charged() == {}


@pytest.mark.parametrize("steps", range(1, 40, 2))
async def test_wherever_decision_dies_it_is_charged_once(world: Bounded, steps: int) -> None:
    world.pending.append(world.preempting())
    await world.deliver(0, 0)
    await world.step(0, steps)
    await world.crash(0)
    await world.finish()
    held = [
        each.value.placement for each in await world.table.entries() if each.value.until
    ]  # none where it was undone
    assert await world.charged() == {each.name: TWO for each in held}
    await world.leaves()
    assert await world.handled(world.message()) == ""
    assert await world.charged() == {URGENT.name: TWO}


async def test_a_hold_is_charged_once_and_taken_over_and_ends_with_its_part(world: Bounded) -> None:
    await world.leaves()
    decider, message = world.deciders[0], world.message()
    asked = replace(message, request=replace(message.request, question=Question(id="q", reserve=30.0)))
    for _ in range(2):
        assert (await world.done(answer(asked, decider))).hold is not None
        assert await world.charged() == {URGENT.hold("q", "alice").name: TWO}
    assert await world.handled(world.message(REFS[1], cpu=1.0)) == RefusalCode.QUOTA_EXCEEDED
    taking = world.message()
    assert await world.handled(replace(taking, request=replace(taking.request, hold="q"))) == ""
    assert await world.charged() == {URGENT.name: TWO}


async def test_a_hold_that_went_with_the_bucket_is_forgotten_when_it_ends(world: Bounded) -> None:
    await world.handled(world.preempting())
    decider = world.deciders[0]
    world.store.raw(CHARGES)._last.clear()  # as a purge does: nobody hears of it
    await world.done(holds.end_holds(decider.ledger, decider.charges, lambda each: bool(each.until)))
    assert decider.charges.used(ROOT).get("cpu", 0.0) == 0.0
