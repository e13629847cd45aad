"""Pauses between attempts."""

import pytest

from shared.aio.backoff import backoff, jittered


@pytest.mark.parametrize(("attempt", "pause"), [(0, 0.5), (1, 0.5), (2, 1.0), (3, 2.0), (7, 30.0), (10_000, 30.0)])
def test_a_pause_doubles_with_each_attempt_up_to_its_bound(attempt, pause):
    assert backoff(attempt, first=0.5, most=30.0) == pause


def test_jitter_takes_away_up_to_half_of_a_pause():
    assert (jittered(8.0, 0.0), jittered(8.0, 0.5), jittered(8.0, 1.0)) == (4.0, 6.0, 8.0)
