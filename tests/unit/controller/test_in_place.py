"""When what was decided should be in place, and whether it is."""

import pytest

from services.controller.core.in_place import grace_period, in_place
from services.controller.core.observation import KnownDecision
from shared.api import PlacedTarget, PlacementStatus
from shared.model.request import HeadEntry, PreviousChoice
from tests.support.values import head


def entry(digest: str = "a.b.c", **fields) -> HeadEntry:
    return HeadEntry(head=fields.pop("head", head()), digest=digest, **fields)


@pytest.mark.parametrize(
    ("phase", "targets", "attempts", "expected"),
    [
        ("Ready", {"a": "Ready", "b": "Ready"}, {"a": 3, "b": 3}, True),
        ("Degraded", {"a": "Ready", "b": "Degraded"}, {"a": 3, "b": 3}, True),
        ("Applying", {"a": "Ready", "b": "Applied", "left": "Removing"}, {"a": 3, "b": 3, "left": 2}, True),
        ("Applying", {"a": "Ready", "b": "Applying"}, {"a": 3, "b": 3}, False),
        ("Degraded", {"a": "Ready", "b": "Failed"}, {"a": 3, "b": 3}, False),
        ("Ready", {"a": "Ready"}, {"a": 3}, False),
        ("Ready", {"a": "Ready", "b": "Ready"}, {"a": 3, "b": 2}, False),
        ("Unschedulable", {"a": "Ready", "b": "Ready"}, {"a": 3, "b": 3}, False),
        ("Pending", {}, {}, False),
    ],
)
def test_a_placement_is_in_place_when_it_is_applied_in_all_that_was_selected(phase, targets, attempts, expected):
    placed = tuple(PlacedTarget(workspace="root:p", name=name, phase=each) for name, each in targets.items())
    decision = KnownDecision(attempt=3, selected=(PreviousChoice(target="root:p/a"), PreviousChoice(target="root:p/b")))
    written = {f"root:p/{name}": attempt for name, attempt in attempts.items()}
    assert in_place(PlacementStatus(phase=phase, targets=placed), decision, written) is expected


def test_a_refusal_that_nobody_waits_with_is_not_in_place():
    assert not in_place(PlacementStatus(phase="Unschedulable"), KnownDecision(attempt=3), {})


@pytest.mark.parametrize(
    ("phase", "expected"), [("Idle", True), ("Removing", True), ("Ready", False), ("Scheduling", False)]
)
def test_where_nothing_is_wanted_a_placement_is_in_place_once_its_status_says_so(phase, expected):
    assert in_place(PlacementStatus(phase=phase), KnownDecision(attempt=3), {"root:p/lost": 2}) is expected


@pytest.mark.parametrize(("in_vain", "least"), [(0, 600), (1, 1200), (2, 2400), (4, 9600), (5, 9600), (1000, 9600)])
def test_each_round_in_vain_gives_a_placement_twice_as_long_to_be_in_place(in_vain, least):
    assert least <= grace_period(600, entry(in_vain=in_vain)) < 1.5 * least


def test_placements_that_are_not_in_place_do_not_come_all_at_once():
    times = [grace_period(600, entry(head=head(uid=f"u{n}"))) for n in range(100)]
    assert all(any(low <= each < low + 60 for each in times) for low in range(600, 900, 60))
