"""Between two looks nothing becomes due: whoever has nothing to do has nothing to do until it wakes."""

import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.controller.core.digest import SUSPENDED
from services.controller.core.observation import KnownDecision, Observation
from services.controller.core.steps import acts, next_step
from services.controller.core.waking import wake
from shared.model.request import PreviousChoice
from tests.unit.controller.test_steps import (
    GONE,
    HELD_BACK,
    LONG_AGO,
    LOST,
    NOW,
    ON_T,
    OVERDUE,
    SETTINGS,
    THERE,
    T,
    U,
    entry,
    observed,
    placement,
    waiting,
)

MOMENTS = st.sampled_from([NOW - 5000, LONG_AGO, NOW - 700, NOW - 61, OVERDUE, NOW - 20, NOW - 1, NOW])
BETTER = {"rebalance": {"type": "WhenBetter", "cooldown": "10m"}}
placements = st.one_of(
    st.just(placement()),
    st.none(),
    st.builds(placement, deleting=st.booleans(), held=st.booleans(), phase=st.sampled_from(["Ready", "Unschedulable"])),
    st.just(placement(suspend=True)),
    st.just(placement(phase="Suspended", suspend=True)),
    st.just(placement(stability=BETTER)),
    st.just(placement(phase="Scheduling")),
)
entries = st.one_of(
    st.none(),
    st.builds(
        entry,
        st.sampled_from([3, 3, 3, 2]),
        st.sampled_from(["a.b.c", "a.b.c", "a.b.c", SUSPENDED]),
        at=MOMENTS,
        deleted=st.sampled_from([False, False, False, True]),
        in_vain=st.integers(0, 2),
    ),
)
decisions = st.one_of(
    st.none(),
    st.just(KnownDecision(attempt=3)),
    st.builds(KnownDecision, attempt=st.just(3), selected=st.just(ON_T.selected), moved_at=MOMENTS),
    st.just(KnownDecision(attempt=3, selected=(PreviousChoice(target=T), PreviousChoice(target=U)))),
)
observations = st.builds(
    lambda sightings, **fields: observed(**fields, targets=dict(zip((T, U), sightings, strict=True))),
    st.tuples(*[st.sampled_from([*[THERE] * 9, LOST, GONE, HELD_BACK])] * 2),
    placement=placements,
    entry=entries,
    digest=st.none(),
    decision=decisions,
    waiting=st.one_of(st.none(), st.builds(waiting, next_try=st.sampled_from([NOW + 1, NOW + 60]), tried_at=MOMENTS)),
    attempts=st.sampled_from([{}, {T: 3}, {T: 3, U: 2}]),
    answers_take=st.sampled_from([0.0, 0.0, 1.0, 200.0]),
    world_changed_at=MOMENTS,
)


@settings(max_examples=400)
@given(observations, st.sampled_from([0.01, 0.5, 0.999]), st.booleans())
def test_nothing_is_due_before_it_wakes(seen: Observation, share: float, world: bool) -> None:
    woken = wake(seen)
    if acts(next_step(seen)) or woken.at <= seen.now or (world and woken.by_world):
        return
    until = min(woken.at, seen.now + 20_000)
    later = seen.now + share * (until - seen.now)
    if later < woken.at:
        changed = later if world else seen.world_changed_at
        then = msgspec.structs.replace(seen, now=later, world_changed_at=changed)
        assert not acts(next_step(then))


def test_a_placement_that_is_in_place_sleeps_once_its_round_is_long_over() -> None:
    woken = wake(observed(entry=entry(at=NOW - 5000)))
    assert (woken.at, woken.by_world) == (math.inf, False)


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({"targets": {T: LOST}}, NOW),
        ({"targets": {T: GONE}}, NOW),
        ({"entry": entry(at=NOW - 10)}, NOW - 10 + SETTINGS.resync_seconds),
        ({"targets": {T: LOST}, "entry": entry(4, at=NOW - 10)}, NOW - 10 + SETTINGS.resync_seconds),
        ({"targets": {T: THERE, U: LOST}, "entry": entry(at=NOW - 10)}, NOW - 10 + SETTINGS.resync_seconds),
        ({"entry": entry(4, at=NOW - 10), "answers_take": 100.0}, NOW - 10 + 200.0),
        ({"entry": entry(at=NOW - 5000), "waiting": waiting(next_try=NOW + 7)}, NOW + 7),
    ],
)
def test_it_wakes_when_something_may_be_due(fields, at) -> None:
    assert wake(observed(**fields)).at == at


def test_a_change_of_the_world_wakes_who_waits_for_one() -> None:
    assert wake(observed(waiting=waiting(tried_at=NOW - 50))).by_world
    assert not wake(observed(waiting=waiting(tried_at=NOW))).by_world, "it has been tried just now"
    better = observed(placement=placement(stability=BETTER), entry=entry(at=NOW - 5000))
    assert wake(better).by_world
    assert not wake(observed(entry=entry(at=NOW - 5000))).by_world
