"""The autoscaler that tests play (tests/support/autoscaling.py): what holds whatever the lag does."""

import math

from hypothesis import given
from hypothesis import strategies as st

from tests.support.autoscaling import MORE, SYNC, TIMES, TOLERANCE, Scaling, Wanted, lag, look, wanted

LAGS = st.integers(0, 5000)
SCALINGS = st.builds(
    lambda least, more, threshold, looks: Scaling(least, least + more, threshold, looks * SYNC),
    st.integers(1, 4),
    st.integers(0, 20),
    st.integers(1, 300),
    st.integers(1, 20),
)

ANSWER = {
    "account_details": [
        {
            "name": "$G",
            "stream_detail": [
                {
                    "name": "S",
                    "state": {"last_seq": 900},
                    "consumer_detail": [{"name": "c", "num_pending": 7, "num_ack_pending": 5}],
                }
            ],
        }
    ]
}


def play(scaling: Scaling, copies: int, lags: list[int | None]) -> list[int]:
    """The copies after each look."""
    past: tuple[Wanted, ...] = ()
    found = []
    for number, each in enumerate(lags):
        copies, past = look(scaling, copies, [each], number * SYNC, past)
        found.append(copies)
    return found


def test_a_lag_is_what_waits_and_what_is_in_hand() -> None:
    assert lag(ANSWER, "$G", "S", "c") == 12


def test_a_consumer_that_is_not_there_counts_as_all_that_ever_came() -> None:
    assert lag(ANSWER, "$G", "S", "other") == 900


def test_the_lag_of_a_stream_or_account_that_is_not_there_is_not_known() -> None:
    assert lag(ANSWER, "$G", "other", "c") is None
    assert lag(ANSWER, "other", "S", "c") is None
    assert lag({}, "$G", "S", "c") is None


@given(st.integers(1, 30), st.integers(1, 300), LAGS)
def test_as_many_are_wanted_as_bring_each_copy_to_the_threshold(copies: int, threshold: int, waiting: int) -> None:
    found = wanted(copies, threshold, [waiting])
    if found == copies:
        assert abs(waiting - threshold * copies) <= max(threshold, TOLERANCE * threshold * copies) + 1e-6
    else:
        assert (found - 1) * threshold < waiting <= found * threshold


@given(st.integers(1, 30), st.integers(1, 300), st.lists(LAGS, min_size=1, max_size=5))
def test_the_consumer_with_most_decides(copies: int, threshold: int, lags: list[int]) -> None:
    assert wanted(copies, threshold, lags) == max(wanted(copies, threshold, [each]) for each in lags)


@given(SCALINGS, st.integers(1, 30), st.lists(st.none() | LAGS, max_size=60))
def test_there_are_never_fewer_or_more_copies_than_allowed(
    scaling: Scaling, copies: int, lags: list[int | None]
) -> None:
    assert all(scaling.least <= each <= scaling.most for each in play(scaling, copies, lags))


@given(SCALINGS, LAGS)
def test_under_a_constant_lag_copies_come_to_rest_at_what_it_asks_for(scaling: Scaling, waiting: int) -> None:
    found = play(scaling, scaling.least, [waiting] * 60)
    right = min(scaling.most, max(scaling.least, math.ceil(waiting / scaling.threshold)))
    assert found == sorted(found)
    assert found[-1] == found[30]
    assert found[-1] <= right
    assert right * (1 - TOLERANCE) - 1 <= found[-1]


@given(SCALINGS, st.lists(st.none() | LAGS, min_size=1, max_size=60))
def test_a_copy_ends_only_where_nothing_in_the_window_asked_for_it(scaling: Scaling, lags: list[int | None]) -> None:
    copies, past = scaling.least, tuple[Wanted, ...]()
    for number, each in enumerate(lags):
        now = number * SYNC
        before, recent = copies, [found.copies for found in past if now - found.at < scaling.window]
        copies, past = look(scaling, copies, [each], now, past)
        if copies < before:
            assert each is not None
            assert max(recent, default=0) <= max(copies, scaling.least)
        assert copies <= max(before + MORE, before * TIMES)


@given(SCALINGS, st.data())
def test_a_lag_that_comes_back_within_the_window_ends_no_copy(scaling: Scaling, data: st.DataObject) -> None:
    """Nothing flaps: whatever the lag does in between, a copy that it asks for once in every window stays."""
    looks = int(scaling.window / SYNC)
    high = data.draw(st.integers(scaling.threshold * scaling.most + 1, 20_000), "the lag of a wave")
    waves = data.draw(st.lists(st.lists(st.integers(0, high), max_size=max(0, looks - 2)), max_size=8), "in between")
    lags: list[int | None] = [high] * 8
    for wave in waves:
        lags += [*wave, high]
    found = play(scaling, scaling.least, lags)
    assert found == sorted(found)


@given(SCALINGS, st.lists(LAGS, min_size=1, max_size=30))
def test_once_nothing_waits_all_but_the_least_end_within_a_window(scaling: Scaling, lags: list[int]) -> None:
    rest = int(scaling.window / SYNC) + 1
    assert play(scaling, scaling.least, [*lags, *[0] * rest])[-1] == scaling.least
