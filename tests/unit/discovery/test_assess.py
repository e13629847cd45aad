"""When copies of the worker disagree about a target."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.discovery.health import FLAPPING, UNREACHABLE, Health, Probe, Rules, assess, observe
from shared.model.target import Target

RULES = Rules(lost_after=60.0, refused_limit=3)
NOW = 10_000.0
READY = Target(workspace="w", name="n", ready=True)
LOST = Target(workspace="w", name="n", reason=UNREACHABLE, lost_since=NOW - 500)
GOOD = Probe("answered", latency=1.0)
BAD = Probe("failed")
REFUSED = Probe("refused")


def changed(entry, **fields):
    return msgspec.structs.replace(entry, **fields)


def well(at=NOW):
    return Health(answered_at=at, judged_at=at)


def gone(at=NOW, **more):
    return Health(answered_at=100.0, failing_since=NOW - 400, lost_since=NOW - 400, judged_at=at, **more)


@pytest.mark.parametrize(
    ("entry", "health", "after"),
    [
        (READY, well(), READY),
        (READY, gone(), changed(READY, doubted_at=NOW)),
        (changed(READY, doubted_at=NOW - 5), gone(), changed(READY, doubted_at=NOW - 5)),
        (changed(READY, doubted_at=NOW - 8), gone(), changed(LOST, lost_since=NOW)),
        (changed(READY, doubted_at=NOW - 8), well(), changed(READY, answered_at=NOW)),
        (changed(READY, doubted_at=NOW - 8), well(NOW - 9), changed(READY, doubted_at=NOW - 8)),
        (changed(READY, answered_at=NOW - 59), gone(), changed(READY, answered_at=NOW - 59)),
        (changed(READY, answered_at=NOW - 60), gone(), changed(READY, answered_at=NOW - 60, doubted_at=NOW)),
        (LOST, gone(), LOST),
        (LOST, well(), changed(READY, answered_at=NOW)),
        (LOST, Health(problem="no kubeconfig", judged_at=NOW), changed(LOST, reason="no kubeconfig")),
        (READY, Health(problem="no kubeconfig", judged_at=NOW), changed(READY, ready=False, reason="no kubeconfig")),
        (LOST, gone(back_since=NOW), changed(LOST, reason=FLAPPING)),
        (READY, gone(back_since=NOW), READY),
    ],
)
def test_what_a_copy_makes_of_the_entry(entry, health, after):
    assert assess(entry, health, RULES.lost_after) == after


STEPS = st.lists(
    st.tuples(st.integers(0, 1), st.floats(0.5, 30.0), st.sampled_from([GOOD, BAD, REFUSED])), min_size=1, max_size=60
)


@given(STEPS)
def test_nothing_is_ever_lost_in_the_past_or_while_an_answer_is_fresh(steps):
    entry, healths, now, answers = READY, [well(), well()], NOW, {}
    for copy, wait, probe in steps:
        now += wait
        healths[copy] = observe(healths[copy], probe, now, RULES)
        if probe is GOOD and not healths[copy].lost_since:
            answers[copy] = now
        if healths[copy].undecided:
            continue
        before, entry = entry, assess(entry, healths[copy], RULES.lost_after)
        if entry.lost_since and not before.lost_since:
            assert entry.lost_since == now
            assert now - before.doubted_at >= RULES.lost_after / 8
            assert all(answered <= before.doubted_at for answered in answers.values())
        assert not (entry.lost_since and (entry.ready or entry.doubted_at))


@given(st.lists(st.floats(0.9, 1.1), min_size=100, max_size=200), st.sampled_from([BAD, REFUSED]))
def test_one_copy_that_is_cut_off_costs_few_writes_and_loses_nothing(paces, failure):
    entry, healths, now, writes = READY, [well(), well()], NOW, 0
    for pace in paces:
        now += 10.0 * pace
        # The copy that is cut off looks first; the doubt makes the other one look, half a second later.
        for copy, probe, late in ((0, failure, 0.0), (1, GOOD, 0.5)):
            healths[copy] = observe(healths[copy], probe, now + late, RULES)
            if not healths[copy].undecided:
                before, entry = entry, assess(entry, healths[copy], RULES.lost_after)
                writes += entry != before
            assert entry.ready
            assert not entry.lost_since
    assert writes <= 2 * ((now - NOW) / RULES.lost_after + 1)


@given(st.floats(1.0, 12.0), st.sampled_from([BAD, REFUSED]))
def test_what_no_copy_reaches_is_lost_soon(pace, failure):
    entry, healths, now = READY, [well(), well()], NOW
    while not entry.lost_since:
        now += pace
        for copy in (0, 1):
            healths[copy] = observe(healths[copy], failure, now, RULES)
            if not healths[copy].undecided:
                entry = assess(entry, healths[copy], RULES.lost_after)
        assert now - NOW <= RULES.lost_after + RULES.lost_after / 8 + 3 * pace
