"""Growing pauses between attempts: the one formula for all of them."""

_DOUBLINGS = 64  # by then every pause is at its bound


def backoff(attempt: int, *, first: float = 0.5, most: float = 30.0) -> float:
    """Seconds to wait after attempt number `attempt` (the first is 1): `first`, then double each time, up to `most`."""
    return float(min(most, first * 2.0 ** min(max(attempt, 1) - 1, _DOUBLINGS)))


def jittered(pause: float, chance: float) -> float:
    """Between half of a pause and all of it, by `chance` (0 to 1), so that many do not come back at once."""
    return pause * (1 + chance) / 2
