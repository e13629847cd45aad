"""How often something may happen: so many a minute, saved up for a minute at most."""

from collections.abc import Callable

from shared.aio.lru import Lru

KEYS = 10_000
"""Keys whose count is remembered; one that was forgotten may begin anew, with a full minute."""


class Rate:
    """A token bucket, per key. `per_minute` 0: without bound. `clock` is in seconds."""

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._told: Lru[str, float] = Lru(KEYS)  # until when those that asked were told to wait
        self._left: Lru[str, tuple[float, float]] = Lru(KEYS)  # how many, as of when

    def left(self, key: str = "") -> float:
        """How many times it may happen now."""
        if not self._per_minute:
            return float("inf")
        now = self._clock()
        left, since = self._left.get(key) or (float(self._per_minute), now)
        return min(float(self._per_minute), left + max(0.0, now - since) * self._per_minute / 60)

    def take(self, key: str = "") -> bool:
        """True if it may happen now; if so, it counts."""
        left = self.left(key)
        if left < 1:
            return False
        if self._per_minute:
            self._left.put(key, (left - 1, self._clock()))
        return True

    def begins_to_wait(self, key: str = "") -> bool:
        """True if nobody is told to wait at the moment."""
        return (self._told.get(key) or 0.0) <= self._clock()

    def wait(self, key: str = "") -> float:
        """Seconds to come back after, for one that may not happen now. Those that ask are told one after the other."""
        if not self._per_minute:
            return 0.0
        each, now = 60 / self._per_minute, self._clock()
        at = max(self._told.get(key) or 0.0, now) + each
        self._told.put(key, at)
        return at - now
