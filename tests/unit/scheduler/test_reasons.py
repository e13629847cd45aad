"""The sentence that every refusal is explained with."""

import pytest

from shared.model.decision import Rejection
from shared.model.reasons import sentence


def rejection(message: str, count: int) -> Rejection:
    return Rejection(reason="X", message=message, targets=tuple(f"t{n}" for n in range(count)))


@pytest.mark.parametrize(
    ("total", "rejections", "fit", "said"),
    [
        (0, [], 0, "no targets to choose from"),
        (
            120,
            [
                rejection("not authorized", 30),
                rejection("lacks apps/v1 Deployment", 80),
                rejection("insufficient cpu", 10),
            ],
            0,
            "0/120 targets: 80 lack apps/v1 Deployment, 30 not authorized, 10 insufficient cpu",
        ),
        (1, [rejection("lacks v1 Pod", 1)], 0, "0/1 targets: 1 lacks v1 Pod"),
        (4, [rejection("b", 1), rejection("a", 1), rejection("b", 1)], 1, "1/4 targets: 2 b, 1 a"),
        (2, [], 2, "2/2 targets"),
        (
            9,
            [rejection(word, 1) for word in "abcdefgh"],
            1,
            "1/9 targets: 1 a, 1 b, 1 c, 1 d, 1 e, 1 f, 2 for other reasons",
        ),
    ],
)
def test_reasons_are_counted_and_ranked(total, rejections, fit, said) -> None:
    assert sentence(total, rejections, fit) == said
