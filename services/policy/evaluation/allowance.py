"""How much time each tenant's rules may take: full at first, filled up again slowly. Pure; time is handed in."""

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


@dataclass
class Work:
    """The allowance of one rule in this process, in estimated seconds: work that was done before costs nothing."""

    limit: float
    spent: float = 0.0

    def afford(self, seconds: float) -> bool:
        """Take it off, where there is as much left."""
        if self.spent + seconds > self.limit:
            return False
        self.spent += seconds
        return True
