"""One lost target is left at once; of many, one after the other, and the others by some placements a minute."""

import pytest

from services.controller.moves import AT_ONCE_SECONDS, Moves
from services.controller.settings import ControllerSettings

TEAM = "root:team"


class Clock:
    """A clock that tests move, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def moves(clock: Clock, **settings: int) -> Moves:
    usual = {"max_moves_per_minute": 5, "max_workspace_moves_per_minute": 2, "max_targets_left_per_minute": 6}
    return Moves(ControllerSettings(**usual | settings), clock)


def test_all_placements_leave_one_target_at_once(clock: Clock) -> None:
    pace = moves(clock)
    assert all(pace.take(TEAM, ["t"]) for _ in range(1000))
    assert pace.left(TEAM) == 2, "these do not count"


def test_of_the_next_target_some_placements_may_leave_until_its_turn_comes(clock: Clock) -> None:
    pace = moves(clock)
    assert pace.take(TEAM, ["t"])
    assert [pace.take(TEAM, ["u"]) for _ in range(4)] == [True, True, False, False]
    assert [pace.take("root:other", ["u"]) for _ in range(3)] == [True, True, False]
    clock.now += 9.9
    assert not pace.at_once(["u"])
    clock.now += 0.1
    assert all(pace.take(TEAM, ["u"]) for _ in range(100))
    assert pace.take(TEAM, ["t", "u"]), "both may be left by now"


def test_turns_are_not_saved_up(clock: Clock) -> None:
    pace = moves(clock, max_workspace_moves_per_minute=1, max_moves_per_minute=1)
    clock.now += 3600.0
    assert [pace.take(TEAM, [each]) for each in "tuvw"] == [True, True, False, False]


def test_who_leaves_several_targets_needs_a_turn_for_each(clock: Clock) -> None:
    pace = moves(clock)
    assert not pace.at_once(["t", "u"])
    assert [pace.take(TEAM, ["t", "u"]) for _ in range(3)] == [True, True, False]


def test_a_target_that_nobody_left_for_long_needs_another_turn(clock: Clock) -> None:
    pace = moves(clock)
    pace.take(TEAM, ["t"])
    clock.now += AT_ONCE_SECONDS + 1
    pace.take(TEAM, ["u"])
    assert pace.at_once(["u"])
    assert not pace.at_once(["t"])


def test_no_target_is_left_at_once_where_that_is_switched_off(clock: Clock) -> None:
    pace = moves(clock, max_targets_left_per_minute=0)
    assert [pace.take(TEAM, ["t"]) for _ in range(3)] == [True, True, False]
