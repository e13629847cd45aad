"""What is decided while others have to leave for a placement: of what is held for it, by whom, and of its holds."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from msgspec.structs import replace

from services.decision.answering import answer
from services.decision.settings import DecisionSettings
from shared.broker.table import Entry, Table
from shared.model.decision import Preemption, Proposal, Refusal, Reservation
from shared.model.preemption import Victim
from shared.model.reasons import RefusalCode
from shared.model.refs import Head, PlacementRef, TargetRef
from shared.model.request import Preempting, Question, Requester
from shared.model.target import Target
from shared.pipeline.buckets import VICTIMS
from shared.pipeline.messages import Bound, Scheduled
from tests.unit.decision.schedules import REFS, TARGETS, World, opened, scheduled

URGENT = REFS[0]
A, B = TARGETS
VICTIM = PlacementRef(workspace="root:other", namespace="apps", name="old")


class Scene(World):
    """A world in which others run in a target of four cores, and have to leave for one of the team."""

    attempt = 0

    def message(self, ref: PlacementRef = URGENT, cpu: float = 2.0, hold: str = "", target: Target = A) -> Scheduled:
        self.attempt += 1
        found = scheduled(ref, Head(uid=ref.name, generation=1, attempt=self.attempt), cpu, [target.id], [])
        return replace(found, request=replace(found.request, requester=Requester(username="alice"), hold=hold))

    def preempting(self, cpu: float = 2.0, hold: str = "") -> Scheduled:
        """A proposal to have the other one leave."""
        found = self.message(cpu=cpu, hold=hold)
        proposal = Proposal(
            strategy="BestFit",
            refusal=Refusal(code=RefusalCode.PREEMPTING, message="1 placement of lower priority has to leave"),
            preemption=Preemption(choices=found.proposal.selected, victims={A.id: (VICTIM,)}),
        )
        request = replace(found.request, preempting=Preempting(targets=(A.id,), rank=10))
        return replace(found, request=request, proposal=proposal)

    async def handled(self, message: Scheduled) -> str:
        """The refusal of what is decided then; empty where it is none."""
        self.pending.append(message)
        await self.finish()
        found = self.hub.decided.get(message.request.placement)
        if found is None or found[1].attempt != message.request.head.attempt:
            return RefusalCode.CONTENDED  # which is not written
        return found[1].refusal

    async def done(self, work: Awaitable[Any]) -> Any:
        """What comes of it when it is let."""
        task = asyncio.ensure_future(work)
        while not task.done():
            await self.steps.let(task, 1)
        return task.result()

    async def hold(self, cpu: float) -> str:
        """Have so much held for a placement to come; the id of the hold."""
        asked = self.message(cpu=cpu)
        request = replace(asked.request, question=Question(id="q", reserve=60.0))
        found = await self.done(answer(replace(asked, request=request), self.deciders[0]))
        assert found.hold is not None
        return "q"

    async def runs(self, cpu: float) -> None:
        """The other one has so much."""
        head = Head(uid="v", generation=1, attempt=1)
        await self._other(Reservation(placement=VICTIM, head=head, resources={"cpu": cpu}, rank=0))

    async def leaves(self) -> None:
        """The other one is gone."""
        head = Head(uid="v", generation=1, attempt=1)
        await self._other(Reservation(placement=VICTIM, head=head, resources={}, released_at=1.0))

    async def _other(self, reservation: Reservation) -> None:
        await self.table.put(f"{TargetRef.of(A).key}.{VICTIM.key}", reservation)
        await self.tell(0, 1000)

    async def removed(self, ref: PlacementRef, target: Target) -> None:
        """Binding says that it has removed one."""
        head = Head(uid=ref.name, generation=1, attempt=self.attempt)
        await self.done(self.deciders[0].give_back(Bound(placement=ref, head=head, target=target.id, phase="Removed")))

    async def held(self) -> dict[str, float]:
        """Cores that are held and not decided, by name."""
        found = (each.value for each in await self.table.entries() if each.value.until)
        return {each.placement.name: each.resources["cpu"] for each in found}


class Counting(Table[Victim]):
    """Counts how often all of it is read."""

    read = 0

    async def entries(self, prefix: str = "") -> list[Entry[Victim]]:
        self.read += 1
        return await super().entries(prefix)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        yield await opened(stack, 1, Scene, settings=DecisionSettings(preemption=True))


async def test_what_is_held_for_it_is_room_for_it_where_others_have_to_leave(scene: Scene) -> None:
    """Two of four cores are its hold, two are taken: for all four one has to leave, and nobody else gets any."""
    hold = await scene.hold(2.0)
    await scene.runs(2.0)
    assert await scene.handled(scene.preempting(cpu=4.0, hold=hold)) == RefusalCode.PREEMPTING
    assert await scene.held() == {URGENT.nomination.name: 4.0}, "the hold does not end before those have left"
    await scene.leaves()
    assert await scene.handled(scene.message(REFS[1], cpu=0.5)) == RefusalCode.CONTENDED
    assert await scene.handled(scene.message(cpu=4.0, hold=hold)) == ""
    assert await scene.held() == {}


async def test_a_hold_stays_where_nobody_can_be_asked_to_leave(scene: Scene) -> None:
    hold = await scene.hold(2.0)
    await scene.runs(2.0)
    assert await scene.handled(scene.preempting(cpu=5.0, hold=hold)) == RefusalCode.CONTENDED
    assert await scene.held() == {URGENT.hold(hold, "alice").name: 2.0}


async def test_a_hold_of_another_name_is_no_room_for_it(scene: Scene) -> None:
    await scene.hold(2.0)
    await scene.runs(2.0)
    assert await scene.handled(scene.preempting(cpu=4.0, hold="another")) == RefusalCode.CONTENDED


async def test_who_has_to_leave_is_looked_up_for_those_alone_whom_it_is_about(scene: Scene) -> None:
    """As long as somebody waits, all others are decided and removed without that."""
    victims = Counting(scene.store, VICTIMS)
    scene.deciders[0].nominations._table = victims
    await scene.runs(3.0)
    assert await scene.handled(scene.preempting()) == RefusalCode.PREEMPTING
    assert victims.read == 1
    assert [each.value.placement for each in await Table(scene.store, VICTIMS).entries()] == [VICTIM]
    others = (REFS[1], REFS[2])
    for ref in others:
        assert await scene.handled(scene.message(ref, target=B)) == ""
    for ref in others:
        del scene.hub.decided[ref]
        await scene.removed(ref, B)
    assert [each for each in others if scene.deciders[0].ledger.held_by(each)] == []
    assert victims.read == 1
    await scene.removed(VICTIM, A)
    assert victims.read == 2
    assert await Table(scene.store, VICTIMS).entries() == []
    assert await scene.handled(scene.message()) == ""
