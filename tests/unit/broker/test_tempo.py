"""For how long a message is given back that has to make room for others."""

import pytest

from shared.broker.tempo import LONGEST, SHORTEST, Tempo


@pytest.mark.parametrize(
    ("now", "done_at", "waiting", "seconds"),
    [
        (10.0, [9.0, 9.5], 8, 4.0),  # one in half a second
        (10.0, [9.99], 8, SHORTEST),
        (500.0, [9.0], 8, LONGEST),  # it went well once, and hangs since
        (0.2, [], 8, SHORTEST),
        (7.0, [], 8, 7.0),  # nothing was handled so far
        (500.0, [], 8, LONGEST),
    ],
)
def test_it_comes_again_when_it_may_be_its_turn_and_ever_later_while_nothing_is_handled(
    now: float, done_at: list[float], waiting: int, seconds: float
) -> None:
    tempo = Tempo()
    tempo.came(0.0)
    for at in done_at:
        tempo.done(at, in_hand=1)
    assert tempo.until_then(now, waiting) == seconds


def test_the_time_in_which_there_was_nothing_to_handle_does_not_count() -> None:
    tempo = Tempo()
    tempo.came(0.0)
    tempo.done(0.1, in_hand=0)
    tempo.came(100.0)
    assert tempo.until_then(100.0, 64) == SHORTEST
    tempo.done(100.25, in_hand=64)
    tempo.done(100.5, in_hand=64)
    assert tempo.until_then(100.75, 64) == 16.0
