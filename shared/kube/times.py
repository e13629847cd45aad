"""Times as Kubernetes writes them: RFC 3339, in UTC."""

from datetime import UTC, datetime
from typing import Literal


def rfc3339(now: float, precision: Literal["seconds", "microseconds"] = "microseconds") -> str:
    """Seconds since the epoch as Kubernetes writes time; what is finer than the precision is cut off."""
    return datetime.fromtimestamp(now, UTC).isoformat(timespec=precision).replace("+00:00", "Z")


def seconds(time: str) -> float:
    """Seconds since the epoch of a time as Kubernetes writes it; 0 for what is none."""
    try:
        return datetime.fromisoformat(time).timestamp()
    except ValueError:
        return 0.0
