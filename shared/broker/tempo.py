"""How fast deliveries are handled, and so when one that waits behind others may have its turn. Pure."""

import math
from collections import deque

SHORTEST, LONGEST = 1.0, 30.0
"""Seconds for which a message is given back."""

_LATELY = 64  # deliveries


class Tempo:
    """That of one copy, since it last had nothing in hand: no message is handled slowly because there was none."""

    def __init__(self) -> None:
        self._began = math.inf
        self._done_at: deque[float] = deque(maxlen=_LATELY)

    def came(self, now: float) -> None:
        """A delivery is in hand."""
        self._began = min(self._began, now)

    def done(self, now: float, *, in_hand: int) -> None:
        """A delivery was handled, and so many are left."""
        self._done_at.append(now)
        if not in_hand:
            self._began = math.inf
            self._done_at.clear()

    def until_then(self, now: float, waiting: int) -> float:
        """Seconds after which so many will have been handled, as fast as it went lately. While none was handled, for as
        long again as that has lasted: handlers that hang are not offered the same messages every second.
        """
        done_at = self._done_at
        expected = (now - done_at[0]) / len(done_at) * waiting if done_at else now - self._began
        return min(LONGEST, max(SHORTEST, expected))
