"""What is awaited is written at once, the rest in its turn."""

from collections.abc import Callable
from typing import Any

import pytest

from services.status.core import aggregate
from services.status.health import TargetState
from services.status.pace import Pace, is_awaited
from shared.api import PlacementStatus
from shared.model.decision import Refusal
from tests.unit.status.samples import EAST, NOW, REF, USUAL, decided, decision, placement, state

FULL = decided(refusal=Refusal(code="NoFeasibleTarget", message="0/8 targets: 8 full"))


def shows(*targets: TargetState, now: str = NOW, **more: Any) -> PlacementStatus:
    more = {"decided": decided(EAST), **more}
    return aggregate(placement(), decision(EAST), targets, now, thresholds=USUAL, **more)


@pytest.mark.parametrize(
    ("before", "after", "awaited"),
    [
        (PlacementStatus(), shows(state("Unknown", "Pending")), True),
        (shows(state("Unknown", "Pending")), shows(state("Progressing")), False),
        (shows(state("Progressing")), shows(state("Progressing", message="1 of 3")), False),
        (shows(state("Progressing")), shows(state()), True),
        (shows(state()), shows(state("Progressing")), True),
        (shows(state("Progressing")), shows(state("Unhealthy", "Failed")), True),
        (shows(state("Unhealthy", "Failed")), shows(state("Unhealthy", "Failed", message="still")), False),
        (shows(), shows(decided=FULL), True),
        (shows(decided=FULL), shows(state("Unknown", "Pending")), True),
    ],
)
def test_what_somebody_may_wait_for_is_awaited(before: PlacementStatus, after: PlacementStatus, awaited: bool) -> None:
    assert is_awaited(before, after) is awaited


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def allowed(pace: Pace, clock: Clock, seconds: float, awaited: Callable[[int], bool]) -> int:
    """How many writes there are in that many seconds, when one is wanted every hundredth of a second."""
    writes = 0
    for number in range(int(seconds * 100)):
        clock.now += 0.01
        if not pace.wait(REF, awaited=awaited(number)):
            pace.wrote(REF)
            writes += 1
    return writes


def test_what_nobody_waits_for_is_written_once_in_a_while() -> None:
    clock = Clock()
    assert allowed(pace := Pace(1.0, clock), clock, 10.0, lambda _: False) == 10
    assert 0 < pace.wait(REF, awaited=False) <= 1.0


def test_what_is_awaited_is_written_at_once() -> None:
    pace = Pace(1.0, Clock())
    pace.wrote(REF)
    assert pace.wait(REF, awaited=True) == 0


def test_what_flaps_for_ever_does_not_jump_the_queue_for_ever() -> None:
    clock = Clock()
    assert allowed(Pace(1.0, clock), clock, 10.0, lambda _: True) <= 4 + 2 * 10 + 1


def test_without_a_pace_nothing_waits() -> None:
    clock = Clock()
    assert allowed(Pace(0.0, clock), clock, 1.0, lambda _: False) == 100
