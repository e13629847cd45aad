"""How much time each tenant's rules may take: full at first, filled up again slowly. Pure; time is handed in."""

import math
from dataclasses import dataclass, field

from shared.aio.lru import Lru

REMEMBERED = 10_000
"""Tenants that are kept; one that is forgotten starts full again."""


ROW_SECONDS = 2e-6
"""What it takes to read one value of one target, roughly."""

COUNTED_ROWS = 10_000


def column_seconds(rows: int) -> float:
    """The cost of building a column. Beyond 10,000 rows it counts no more: many targets are nobody's hostile doing."""
    return min(rows, COUNTED_ROWS) * ROW_SECONDS


@dataclass(frozen=True, slots=True)
class _Left:
    seconds: float
    at: float


@dataclass
class Allowances:
    """Seconds by tenant: at most `full`, of which `refill` come back in each second."""

    full: float
    refill: float = 0.1
    _left: Lru[str, _Left] = field(default_factory=lambda: Lru(REMEMBERED))

    def left(self, tenant: str, now: float) -> float:
        """Seconds that the tenant may use now."""
        known = self._left.get(tenant)
        return self.full if known is None else min(self.full, known.seconds + self.refill * (now - known.at))

    def spend(self, tenant: str, seconds: float, now: float) -> None:
        """Take off what was used; never below zero."""
        left = max(0.0, self.left(tenant, now) - seconds)
        self._left.put(tenant, _Left(left, now))


TURN_SECONDS = 0.06
"""What one message's rules may take at once, by estimate, before others have their turn."""

FLEETING_SECONDS = 0.03
"""What one rule may take, by estimate, of work that is not remembered. It fits into a turn with what one column takes,
so that a rule gets further in each of its turns."""


class TurnOver(Exception):
    """Others have their turn now; what was done is remembered, and the rest is for the next turn."""


@dataclass
class Turn:
    """What may be done at once in this process. Its first piece is always done, so that there is progress."""

    seconds: float = TURN_SECONDS
    spent: float = 0.0

    def take(self, seconds: float) -> None:
        """Raises `TurnOver` where there is not as much left."""
        if self.spent and self.spent + seconds > self.seconds:
            raise TurnOver
        self.spent += seconds


@dataclass
class Work:
    """The allowance of one rule in this process, in estimated seconds: work that was done before costs nothing.

    `limit` is what its tenant has; `turn` what may be done at once.
    """

    limit: float
    turn: Turn = field(default_factory=lambda: Turn(math.inf))
    spent: float = 0.0
    fleeting: float = 0.0

    def afford(self, seconds: float, *, kept: bool = True) -> bool:
        """Take it off, where there is as much left; `kept` tells whether what is done for it is remembered.

        Raises `TurnOver` where it is for another turn.
        """
        if self.spent + seconds > self.limit:
            return False
        if not kept and self.fleeting + seconds > FLEETING_SECONDS and math.isfinite(self.limit):
            return False
        self.turn.take(seconds)
        self.spent += seconds
        self.fleeting += 0.0 if kept else seconds
        return True
