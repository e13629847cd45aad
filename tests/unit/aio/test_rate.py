"""How often something may happen in a minute."""

from shared.aio.rate import Rate


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_minutes_worth_may_happen_at_once_and_then_one_as_its_share_of_a_minute_is_over() -> None:
    clock = Clock()
    rate = Rate(6, clock)
    assert [rate.take() for _ in range(7)] == [True] * 6 + [False]
    assert [rate.wait() for _ in range(3)] == [10.0, 20.0, 30.0]  # one after the other
    clock.now = 9.9
    assert not rate.take()
    clock.now = 10.1
    assert (rate.take(), rate.take()) == (True, False)
    clock.now = 10_000.0
    assert rate.left() == 6


def test_keys_are_counted_apart() -> None:
    rate = Rate(1, Clock())
    assert (rate.take("a"), rate.take("b"), rate.take("a")) == (True, True, False)


def test_no_number_is_no_bound() -> None:
    rate = Rate(0, Clock())
    assert all(rate.take() for _ in range(1000))
    assert rate.wait() == 0.0
