"""When a healthy placement looks for better targets."""

import pytest

from services.controller.core.observation import KnownDecision
from services.controller.core.rebalance import looking, may_improve, noted
from shared.api import HistoryEntry, Rebalance, TargetReference, decode_placement
from shared.hub.history import moved_at
from shared.hub.names import REBALANCE_ANNOTATION
from shared.model.refs import Head
from shared.model.request import HeadEntry, PreviousChoice


def refs(names: str) -> tuple[TargetReference, ...]:
    return tuple(TargetReference(workspace="root:p", name=name) for name in names.split())


def changed(when: str, before: str, after: str) -> HistoryEntry:
    return HistoryEntry(when=f"2026-01-01T00:00:{when}Z", why="", from_=refs(before), to=refs(after))


@pytest.mark.parametrize(
    ("history", "second"),
    [
        ((), None),
        ((changed("01", "", "a b"),), None),
        ((changed("02", "a", "a b"), changed("01", "a b", "a")), None),
        ((changed("09", "b", "b c"), changed("07", "a", "b"), changed("03", "x", "a")), 7),
        ((changed("xx", "a", "b"),), None),
    ],
)
def test_a_move_leaves_a_target_for_another(history, second):
    assert moved_at(history) == (1767225600 + second if second is not None else 0.0)


BETTER = Rebalance(type="WhenBetter", cooldown="10m")


@pytest.mark.parametrize(
    ("rebalance", "moved", "looked_at", "world", "expected"),
    [
        (BETTER, 0.0, 900.0, 950.0, True),
        (BETTER, 400.0, 900.0, 950.0, True),
        (BETTER, 401.0, 900.0, 950.0, False),
        (BETTER, 0.0, 941.0, 950.0, False),
        (BETTER, 0.0, 900.0, 900.0, False),
        (Rebalance(), 0.0, 900.0, 950.0, False),
    ],
)
def test_better_targets_are_looked_for_after_the_cooldown_when_something_changed(
    rebalance, moved, looked_at, world, expected
):
    assert may_improve(rebalance, moved, looked_at, world, 60.0, 1000.0) is expected


ON_ONE = KnownDecision(attempt=3, selected=(PreviousChoice(target="root:p/t"),))


def asking(request: str, **stability: object):
    metadata = {"name": "web", "annotations": {REBALANCE_ANNOTATION: request} if request else {}}
    return decode_placement({"metadata": metadata, "spec": {"stability": stability}})


def test_for_one_round_it_may_move_and_what_a_move_has_to_gain_stays() -> None:
    spec = asking("now", rebalance={"type": "Never", "by": 7, "cooldown": "1h"}, stickiness=3, disruptionBudget=2).spec
    once = looking(spec).stability
    assert (once.rebalance, once.stickiness) == (Rebalance(type="WhenBetter", by=7, cooldown="0s"), 3)
    assert once.disruption_budget == 2


@pytest.mark.parametrize(
    ("request_", "decision", "looks", "expected"),
    [
        ("noon", ON_ONE, True, ("noon", 4)),
        ("noon", ON_ONE, False, ("dawn", 2)),  # a round that does not look leaves it open
        ("noon", None, False, ("noon", 4)),  # one that chooses among all targets anyway does not
        ("dawn", ON_ONE, True, ("dawn", 2)),  # the same again: since when it was asked stays
        ("", ON_ONE, False, ("dawn", 2)),
    ],
)
def test_with_the_head_it_is_noted_which_request_is_seen_to_and_since_when(request_, decision, looks, expected) -> None:
    entry = HeadEntry(head=Head(uid="u", generation=1, attempt=3), digest="", rebalance="dawn", rebalance_since=2)
    assert noted(entry, asking(request_), decision, 4, looks=looks) == expected


def test_a_request_that_is_too_long_to_be_noted_is_compared_by_its_beginning() -> None:
    assert noted(None, asking("x" * 1000), None, 1, looks=False) == ("x" * 64, 1)
