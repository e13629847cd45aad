"""What a decision gives back."""

import pytest

from services.controller.core.observation import KnownDecision, gives_back


def reserving(**targets: dict[str, float]) -> KnownDecision:
    return KnownDecision(attempt=1, reserved=targets)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (reserving(a={"cpu": 2.0}), reserving(a={"cpu": 1.0}), True),
        (reserving(a={"cpu": 2.0, "memory": 1.0}), reserving(a={"cpu": 3.0, "memory": 0.5}), True),
        (reserving(a={"cpu": 2.0, "gpu": 1.0}), reserving(a={"cpu": 2.0}), True),
        (reserving(a={"cpu": 1.0}, b={"cpu": 2.0}), reserving(a={"cpu": 1.0}, b={"cpu": 1.0}), True),
        (reserving(a={"cpu": 2.0}), reserving(a={"cpu": 2.0}), False),
        (reserving(a={"cpu": 2.0}), reserving(a={"cpu": 3.0, "gpu": 1.0}), False),
        (reserving(a={"cpu": 2.0}), reserving(b={"cpu": 1.0}), False),
        (reserving(), reserving(a={"cpu": 1.0}), False),
    ],
)
def test_a_decision_gives_back_where_it_takes_less_of_a_target_than_before(old, new, expected) -> None:
    assert gives_back(old, new) is expected
