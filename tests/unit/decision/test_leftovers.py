"""What a placement holds where it is not wanted: by whom, and under which attempts, it is removed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from services.decision.decider import Decider
from services.decision.ledger import key_of
from services.decision.upkeep import release_leftovers
from shared.api import PlacementDecisionStatus, ScoredTarget
from shared.model.decision import Reservation
from shared.model.refs import Head, TargetRef
from shared.model.request import HeadEntry
from shared.pipeline.messages import Assigned
from tests.unit.decision.schedules import REFS, TARGETS, World, opened

REF = REFS[0]
HERE, ELSEWHERE = (target.id for target in TARGETS)


def head(attempt: int) -> Head:
    return Head(uid=REF.name, generation=1, attempt=attempt)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield await opened(stack, 2)


async def holding(world: World, attempt: int) -> Decider:
    """A copy that knows that the placement holds something elsewhere."""
    held = Reservation(placement=REF, head=head(attempt), resources={"cpu": 1.0})
    await world.table.put(key_of(ELSEWHERE, REF), held)
    await world.tell(0, 1000)
    assert world.deciders[0].ledger.held_by(REF) == {TargetRef.parse(ELSEWHERE).key}
    return world.deciders[0]


async def found(world: World, decider: Decider) -> list[Assigned]:
    """What a look for leftovers has removed."""
    looking = asyncio.create_task(release_leftovers(decider))
    await world.steps.settle()
    await world.steps.let(looking, 1000)
    return await looking


@pytest.mark.parametrize(("held", "removed"), [(1, True), (2, False), (3, False)], ids=["older", "equal", "newer"])
async def test_only_what_is_older_than_the_decision_that_was_read_is_a_leftover(
    world: World, held: int, removed: bool
) -> None:
    """What this attempt holds, or a newer one, may be about to be decided."""
    selected = ScoredTarget(target=TargetRef.parse(HERE).reference)
    world.hub.decided[REF] = 1, PlacementDecisionStatus(attempt=2, selected=(selected,))
    await world.heads.put(REF.key, HeadEntry(head=head(4), digest=""))
    told = await found(world, await holding(world, held))
    assert told == (
        [Assigned(placement=REF, head=head(4), target=ELSEWHERE, remove=True, held=held)] if removed else []
    )


@pytest.mark.parametrize(("ago", "removed"), [(59.0, False), (60.0, True)], ids=["just begun", "begun for long"])
async def test_a_round_that_has_just_begun_is_left_to_itself(world: World, ago: float, removed: bool) -> None:
    """Else each of thousands that are under way would be read, which holds them up."""
    selected = ScoredTarget(target=TargetRef.parse(HERE).reference)
    world.hub.decided[REF] = 1, PlacementDecisionStatus(attempt=2, selected=(selected,))
    decider = await holding(world, 1)
    await world.heads.put(REF.key, HeadEntry(head=head(4), digest="", requested_at=decider.clock() - ago))
    await world.tell(0, 1000)
    assert [each.remove for each in await found(world, decider)] == ([True] if removed else [])


async def test_what_an_attempt_reserved_and_has_not_written_yet_is_no_leftover_though_a_newer_one_was_asked_for(
    world: World,
) -> None:
    await world.ask(0, 2.0, 0)
    await world.finish()
    await world.ask(0, 2.0, 1)
    await world.deliver(0, 0)
    while (REF, ELSEWHERE) not in await world.reserved():
        await world.step(0, 1)
    await world.ask(0, 2.0, 0)
    await world.tell(1, 1000)
    assert await found(world, world.deciders[1]) == []
    await world.rest()
    await world.check()


@pytest.mark.parametrize(("held", "removed"), [(1, True), (2, True), (3, False)], ids=["older", "equal", "newer"])
async def test_a_decision_has_removed_what_its_own_attempt_or_an_older_one_holds_elsewhere(
    world: World, held: int, removed: bool
) -> None:
    """Its own: another delivery of it may have taken something else, and lost."""
    decider = await holding(world, held)
    told = decider.leftovers(REF, head(2), {HERE})
    assert told == ([Assigned(placement=REF, head=head(2), target=ELSEWHERE, remove=True)] if removed else [])
    assert decider.leftovers(REF, head(2), {ELSEWHERE}) == []


@pytest.mark.parametrize(("runs", "kept"), [(1.0, 2.0), (3.0, 5.0)], ids=["what is decided", "more than is decided"])
async def test_what_a_worker_that_died_reserved_beyond_what_is_decided_is_given_back_unless_more_runs(
    world: World, runs: float, kept: float
) -> None:
    """It died in a round that was to grow, and the next one was refused: what was selected before stays."""
    here, place = TargetRef.parse(HERE), (REF, HERE)
    world.hub.decided[REF] = (
        1,
        PlacementDecisionStatus(attempt=3, selected=(ScoredTarget(target=here.reference, reserved={"cpu": 2.0}),)),
    )
    world.hub.bindings[place], world.hub.applied[place] = 1, runs
    grown = Reservation(placement=REF, head=head(2), resources={"cpu": 5.0})
    await world.table.put(key_of(HERE, REF), grown)
    await world.heads.put(REF.key, HeadEntry(head=head(3), digest=""))
    await world.tell(0, 1000)
    assert await found(world, world.deciders[0]) == []
    assert (await world.reserved())[place] == kept
