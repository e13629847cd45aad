"""When a target counts as lost, and when as back."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.discovery.health import (
    FLAPPING,
    LONGEST_HOLD,
    NOT_PROBED,
    UNREACHABLE,
    Health,
    Probe,
    Rules,
    hold,
    observe,
    resume,
    steady_latency,
)
from shared.model.target import Target

RULES = Rules(lost_after=60.0, refused_limit=3)
GOOD = Probe("answered", latency=10.0)
BAD = Probe("failed", detail="timed out")
REFUSED = Probe("refused", detail="connection refused")


def after(*probes, start=None):
    """Health after probes at given times: `(0, GOOD), (20, BAD)`."""
    health = start or Health()
    for now, probe in probes:
        health = observe(health, probe, 1000.0 + now, RULES)
    return health


@pytest.mark.parametrize(
    ("probes", "reason"),
    [
        ([], NOT_PROBED),
        ([(0, GOOD)], ""),
        ([(0, BAD)], NOT_PROBED),
        ([(0, GOOD), (20, BAD)], ""),
        ([(0, GOOD), (20, BAD), (79, BAD)], ""),
        ([(0, GOOD), (20, BAD), (80, BAD)], UNREACHABLE),
        ([(0, GOOD), (20, BAD), (70, GOOD), (80, BAD)], ""),
        ([(0, GOOD), (20, REFUSED), (21, REFUSED)], ""),
        ([(0, GOOD), (20, REFUSED), (21, REFUSED), (22, REFUSED)], UNREACHABLE),
        ([(0, GOOD), (20, REFUSED), (21, REFUSED), (22, BAD), (23, REFUSED)], ""),
        ([(0, BAD), (60, BAD)], UNREACHABLE),
        ([(0, GOOD), (20, BAD), (80, BAD), (90, GOOD)], ""),
        ([(0, GOOD), (1, Probe("unusable", problem="no kubeconfig"))], "no kubeconfig"),
        ([(0, Probe("unusable", problem="no kubeconfig")), (1, GOOD)], ""),
    ],
)
def test_probes_add_up_to_a_reason(probes, reason):
    assert after(*probes).reason == reason


def test_lost_since_is_when_it_began_to_fail_and_stays():
    lost = after((0, GOOD), (20, BAD), (80, BAD), (100, BAD), (200, REFUSED))
    assert lost.lost_since == 1020.0
    assert lost.detail == "connection refused"


def test_a_first_return_is_believed_at_once_and_a_second_must_last():
    once = after((0, GOOD), (20, BAD), (80, BAD), (90, GOOD))
    assert not once.lost_since
    again = after((100, BAD), (160, BAD), (170, GOOD), start=once)
    assert again.reason == FLAPPING
    assert again.lost_since == 1100.0
    assert after((229, GOOD), start=again).reason == FLAPPING
    assert after((230, GOOD), start=again).reason == ""


def test_a_failure_while_proving_itself_begins_the_proof_anew():
    once = after((0, GOOD), (20, BAD), (80, BAD), (90, GOOD), (100, BAD), (160, BAD), (170, GOOD), (200, BAD))
    assert once.reason == UNREACHABLE
    assert after((210, GOOD), (269, GOOD), start=once).reason == FLAPPING
    assert after((210, GOOD), (270, GOOD), start=once).reason == ""


@pytest.mark.parametrize(
    ("losses", "seconds"),
    [((), 0), ((1000.0,), 0), ((900.0, 1000.0), 60), ((800.0, 900.0, 1000.0), 120), ((100.0, 1000.0), 0)],
)
def test_the_proof_takes_longer_with_each_recent_loss(losses, seconds):
    assert hold(losses, 1000.0, RULES) == seconds
    assert hold(tuple(range(990, 1000)), 1000.0, RULES) == LONGEST_HOLD


@pytest.mark.parametrize(
    ("entry", "reason", "undecided"),
    [
        (None, NOT_PROBED, True),
        (Target(workspace="w", name="n", ready=True), "", False),
        (Target(workspace="w", name="n", reason="without a ready node"), NOT_PROBED, True),
        (Target(workspace="w", name="n", reason=UNREACHABLE, lost_since=900.0), UNREACHABLE, False),
    ],
)
def test_a_new_process_goes_on_from_the_inventory(entry, reason, undecided):
    health = resume(entry, 1000.0)
    assert (health.reason, health.undecided) == (reason, undecided)
    assert health.lost_since == (entry.lost_since if entry else 0.0)


def test_a_target_that_fails_but_is_not_lost_is_undecided():
    assert after((0, GOOD), (20, BAD)).undecided
    assert not after((0, GOOD)).undecided
    assert not after((0, GOOD), (20, BAD), (80, BAD)).undecided
    assert not after((0, Probe("unusable", problem="no kubeconfig"))).undecided


def test_latency_is_smoothed():
    assert after((0, GOOD)).latency == 10.0
    assert after((0, GOOD), (20, Probe("answered", latency=110.0))).latency == pytest.approx(40.0)
    assert after((0, GOOD), (20, BAD)).latency == 10.0


def test_a_latency_is_news_when_it_moved_and_only_once():
    far = Probe("answered", latency=110.0)
    looks = [after(*((20 * n, each) for n, each in enumerate(found))) for found in ([GOOD], [GOOD, GOOD], [GOOD, far])]
    assert [(health.steady, health.moved) for health in looks] == [(10.0, True), (10.0, False), (40.0, True)]
    assert not after((0, GOOD), (20, BAD)).moved


@pytest.mark.parametrize(
    ("previous", "measured", "stored"),
    [(0, 0.2, 1), (0, 12.4, 12), (1, 5.9, 1), (1, 6.1, 6), (100, 124, 100), (100, 126, 126), (100, 74, 74)],
)
def test_a_latency_is_told_anew_only_when_it_moved(previous, measured, stored):
    assert steady_latency(previous, measured) == stored


PROBES = st.lists(
    st.tuples(st.floats(0.1, 200.0), st.sampled_from([GOOD, BAD, REFUSED, Probe("unusable", problem="p")])), max_size=30
)


@given(PROBES)
def test_never_lost_without_having_failed_long_or_been_refused_often(steps):
    health, now = Health(), 1000.0
    for wait, probe in steps:
        now += wait
        before, health = health, observe(health, probe, now, RULES)
        if health.lost_since and not before.lost_since:
            assert now - health.failing_since >= RULES.lost_after or health.refused >= RULES.refused_limit
            assert health.losses[-1] == now
        if before.lost_since and not health.lost_since:
            assert probe.outcome == "answered"
        assert len(health.losses) <= 8
        assert health.lost_since == 0 or health.reason in {UNREACHABLE, FLAPPING}
        assert msgspec.structs.asdict(health)["latency"] >= 0
