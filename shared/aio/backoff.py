"""Growing pauses between attempts."""


def backoff(attempt: int, *, first: float = 0.5, most: float = 30.0) -> float:
    """Seconds before delivery number `attempt + 1`: exponential, bounded."""
    return float(min(most, first * 2.0 ** min(attempt - 1, 64)))
