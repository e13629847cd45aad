"""What is held for a placement is charged to its quotas once: by whom it is held first, and then by the placement."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from msgspec.structs import replace

from services.decision import holds
from services.decision.answering import answer
from services.decision.settings import DecisionSettings
from shared.broker.table import Table
from shared.hub.quotas import NOBODY
from shared.model.decision import Proposal, Refusal
from shared.model.quota import WorkspaceQuota
from shared.model.reasons import RefusalCode
from shared.model.refs import Head
from shared.model.request import HeadEntry, Question
from shared.model.resources import Resources
from shared.pipeline.buckets import CHARGES, VICTIMS
from tests.unit.decision.schedules import REFS, opened
from tests.unit.decision.test_nominated import URGENT, Scene

TEAM = WorkspaceQuota(workspace="root", name="team", uid="q", bounds="root:team", hard={"cpu": 2.0, "placements": 1.0})
TWO = {"cpu": 2.0, "placements": 1.0}


class Bounded(Scene):
    """The team has two cores in all."""

    async def charged(self) -> dict[str, Resources]:
        """What is charged, by name."""
        found = (each.value for each in await Table(self.store, CHARGES).entries(TEAM.place))
        return {each.placement.name: each.resources for each in found if each.resources and each.placement != NOBODY}


@pytest.fixture
async def scene() -> AsyncIterator[Bounded]:
    async with AsyncExitStack() as stack:
        found = await opened(stack, 1, Bounded, quota=TEAM, settings=DecisionSettings(preemption=True))
        await found.runs(3.0)
        yield found


async def test_who_waits_for_others_to_leave_is_charged_once_and_takes_it_over(scene: Bounded) -> None:
    for _ in range(3):  # it is proposed again as long as they have not left
        assert await scene.handled(scene.preempting()) == RefusalCode.PREEMPTING
        assert await scene.charged() == {URGENT.nomination.name: TWO}
    await scene.leaves()
    assert await scene.handled(scene.message()) == ""
    assert await scene.charged() == {URGENT.name: TWO}


async def test_nobody_leaves_for_what_a_quota_has_no_room_for(scene: Bounded) -> None:
    assert await scene.handled(scene.preempting(cpu=2.5)) == RefusalCode.QUOTA_EXCEEDED
    assert await Table(scene.store, VICTIMS).entries() == []
    assert (await scene.held(), await scene.charged()) == ({}, {})


async def test_what_waits_for_others_to_leave_is_not_taken_by_another_of_its_workspace(scene: Bounded) -> None:
    await scene.handled(scene.preempting())
    await scene.leaves()
    assert await scene.handled(scene.message(REFS[1], cpu=1.0)) == RefusalCode.QUOTA_EXCEEDED
    assert await scene.handled(scene.message()) == ""


async def test_it_has_its_part_back_when_it_does_not_wait_any_more(scene: Bounded) -> None:
    await scene.handled(scene.preempting())
    refused = Refusal(code=RefusalCode.NO_FEASIBLE_TARGET, message="none")
    message = replace(scene.message(), proposal=Proposal(strategy="BestFit", refusal=refused))
    assert await scene.handled(message) == RefusalCode.NO_FEASIBLE_TARGET
    assert await scene.charged() == {}


async def test_it_has_its_part_back_when_they_did_not_leave_in_time(scene: Bounded) -> None:
    await scene.handled(scene.preempting())
    decider = scene.deciders[0]
    until = decider.nominations.until()
    assert await scene.done(holds.end_holds(decider.ledger, decider.charges, lambda each: each.until <= until)) == 1
    assert await scene.charged() == {}


async def test_it_has_its_part_back_when_its_placement_is_gone(scene: Bounded) -> None:
    await scene.handled(scene.preempting())
    gone = Head(uid=URGENT.name, generation=1, attempt=scene.attempt + 1)
    await scene.heads.put(URGENT.key, HeadEntry(head=gone, digest="", deleted=True))
    await scene.steps.settle()
    await scene.done(scene.deciders[0].nominations.give_up())
    assert (await scene.held(), await scene.charged()) == ({}, {})


@pytest.mark.parametrize("steps", range(1, 40, 2))
async def test_wherever_decision_dies_it_is_charged_once(scene: Bounded, steps: int) -> None:
    await scene.runs(2.0)
    hold = await scene.hold(2.0)
    await scene.runs(2.5)  # so that it has to leave for what is held, too
    scene.pending.append(scene.preempting(hold=hold))
    await scene.deliver(0, 0)
    await scene.step(0, steps)
    await scene.crash(0)
    await scene.finish()
    assert await scene.held() == {URGENT.nomination.name: 2.0}
    assert await scene.charged() == {URGENT.nomination.name: TWO}
    await scene.leaves()
    assert await scene.handled(scene.message()) == ""
    assert await scene.charged() == {URGENT.name: TWO}


@pytest.mark.parametrize("quota", [None, TEAM])
@pytest.mark.parametrize("steps", range(1, 20, 2))
async def test_room_is_held_once_though_two_copies_see_to_that(quota: WorkspaceQuota | None, steps: int) -> None:
    """Its message is delivered again while the first copy is at work: one of both writes, and the other gives way."""
    for others in range(20):
        async with AsyncExitStack() as stack:
            scene = await opened(stack, 2, Bounded, quota=quota, settings=DecisionSettings(preemption=True))
            await scene.runs(3.0)
            await scene.tell(1, 1000)
            scene.pending.append(scene.preempting())
            await scene.deliver(0, 0)
            await scene.step(0, steps)
            await scene.tell(1, 1000)
            await scene.deliver(0, 1)
            await scene.step(1, others)
            await scene.step(0, 1000)
            await scene.finish()
            assert scene.hub.decided[URGENT][1].refusal == RefusalCode.PREEMPTING
            assert await scene.held() == {URGENT.nomination.name: 2.0}
            assert await scene.charged() == ({URGENT.nomination.name: TWO} if quota else {})


@pytest.mark.parametrize("steps", range(1, 40, 2))
async def test_wherever_decision_dies_nothing_is_held_once_it_has_its_place(scene: Bounded, steps: int) -> None:
    await scene.runs(2.0)
    hold = await scene.hold(2.0)
    await scene.runs(2.5)
    await scene.handled(scene.preempting(hold=hold))
    await scene.leaves()
    message = scene.message(hold=hold)
    scene.pending.append(message)
    await scene.deliver(0, 0)
    await scene.step(0, steps)
    await scene.crash(0)
    await scene.finish()
    assert scene.hub.decided[URGENT][1].attempt == message.request.head.attempt
    assert (await scene.held(), await scene.charged()) == ({}, {URGENT.name: TWO})


async def test_a_hold_is_charged_once_and_taken_over_and_ends_with_its_part(scene: Bounded) -> None:
    await scene.leaves()
    for _ in range(2):
        hold = await scene.hold(2.0)
        assert await scene.charged() == {URGENT.hold(hold, "alice").name: TWO}
    assert await scene.handled(scene.message(REFS[1], cpu=1.0)) == RefusalCode.QUOTA_EXCEEDED
    assert await scene.handled(scene.message(hold=hold)) == ""
    assert await scene.charged() == {URGENT.name: TWO}


async def test_a_nomination_takes_over_the_hold_and_its_part(scene: Bounded) -> None:
    await scene.runs(2.0)
    hold = await scene.hold(2.0)
    await scene.runs(2.5)
    assert await scene.handled(scene.preempting(hold=hold)) == RefusalCode.PREEMPTING
    assert await scene.charged() == {URGENT.nomination.name: TWO}
    await scene.leaves()
    assert await scene.handled(scene.message(hold=hold)) == ""
    assert await scene.charged() == {URGENT.name: TWO}


async def test_one_hold_is_no_room_for_another(scene: Bounded) -> None:
    await scene.leaves()
    hold = await scene.hold(2.0)
    asked = scene.message(cpu=2.0, hold=hold)
    request = replace(asked.request, question=Question(id="more", reserve=60.0))
    found = await scene.done(answer(replace(asked, request=request), scene.deciders[0]))
    assert found.refusal.code == RefusalCode.QUOTA_EXCEEDED
    assert await scene.charged() == {URGENT.hold(hold, "alice").name: TWO}


async def test_a_hold_that_went_with_the_bucket_is_forgotten_when_it_ends(scene: Bounded) -> None:
    await scene.handled(scene.preempting())
    decider = scene.deciders[0]
    scene.store.raw(CHARGES)._last.clear()  # as a purge does: nobody hears of it
    await scene.done(holds.end_holds(decider.ledger, decider.charges, lambda each: bool(each.until)))
    assert decider.charges.used(TEAM).get("cpu", 0.0) == 0.0
