"""Pauses between an informer's attempts."""

from hypothesis import given
from hypothesis import strategies as st

from shared.kube.informer import Backoff


def test_back_off_doubles_up_to_its_cap_and_begins_anew_after_a_reset():
    backoff = Backoff(base=1, cap=5)
    assert [backoff.next(1.0) for _ in range(5)] == [1, 2, 4, 5, 5]
    backoff.reset()
    assert backoff.next(0.5) == 0.5


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_back_off_stays_within_its_cap(attempts, chance):
    assert 0 <= Backoff(attempts=attempts).next(chance) <= 30
