"""Conditions keep their transition time; durations and counts fill in their defaults."""

import pytest

from shared.api import Condition, Count, Targets, duration_seconds, get_condition, set_condition

EARLIER, NOW = "2026-11-22T08:00:00Z", "2026-11-22T09:00:00Z"
READY = Condition(type="Ready", status="True", reason="Up", message="all is well", last_transition_time=EARLIER)


def test_a_new_condition_is_appended_with_its_time():
    conditions = set_condition((READY,), "Scheduled", "False", "NoTarget", "no target fits", NOW, 3)
    assert conditions == (
        READY,
        Condition(
            type="Scheduled",
            status="False",
            reason="NoTarget",
            message="no target fits",
            last_transition_time=NOW,
            observed_generation=3,
        ),
    )


@pytest.mark.parametrize(("status", "time"), [("True", EARLIER), ("False", NOW), ("Unknown", NOW)])
def test_the_transition_time_moves_only_with_the_status(status, time):
    (condition,) = set_condition((READY,), "Ready", status, "Changed", "something else", NOW)
    assert (condition.status, condition.reason, condition.last_transition_time) == (status, "Changed", time)


def test_setting_replaces_in_place():
    other = Condition(type="Other", status="True", last_transition_time=EARLIER)
    conditions = set_condition((READY, other), "Ready", "False", "Down", "", NOW)
    assert [condition.type for condition in conditions] == ["Ready", "Other"]
    assert conditions[1] is other


def test_a_condition_is_found_by_type():
    assert get_condition((READY,), "Ready") is READY
    assert get_condition((READY,), "Healthy") is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("1h30m", 5400), ("250ms", 0.25), ("1.5m", 90), ("0s", 0), ("2h0m1s", 7201)]
)
def test_a_duration_is_read_in_seconds(text, seconds):
    assert duration_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "10", "10 s", "-1s", "1d", "s", "1h junk", "1..5s", "10s\n"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="is not a duration"):
        duration_seconds(text)


@pytest.mark.parametrize(
    ("targets", "bounds"),
    [
        (Targets(), (1, 1)),
        (Targets(count=Count(min=3)), (3, 3)),
        (Targets(count=Count(max=5)), (1, 5)),
        (Targets(count=Count(min=2, max=4)), (2, 4)),
        (Targets(all=True), (1, None)),
        (Targets(count=Count(min="25%")), (3, 3)),
        (Targets(count=Count(min="25%", max="55%")), (3, 5)),
        (Targets(count=Count(min="25%", max="29%")), (3, 3)),
        (Targets(count=Count(min="100%")), (10, 10)),
        (Targets(count=Count(max="1%")), (1, 1)),
        (Targets(count=Count(min=4, max="20%")), (4, 4)),
        (Targets(count=Count(min="50%", max=2)), (5, 2)),
    ],
)
def test_the_wanted_number_of_targets_has_bounds(targets, bounds):
    assert targets.bounds(10) == bounds
