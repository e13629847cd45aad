"""When a healthy placement looks for better targets."""

import pytest

from services.controller.core.rebalance import may_improve, moved_at
from shared.api import HistoryEntry, Rebalance, TargetReference


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
