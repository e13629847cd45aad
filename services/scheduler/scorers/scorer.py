"""The form of a scorer."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from services.scheduler.candidates import Candidates
from shared.columns import Floats

Args = Mapping[str, Any]
Scorer = Callable[[Candidates, Args], Floats | None]
"""Points 0..100 for every feasible target, higher is better. None: the scorer has nothing to say on this request.
NaN: it knows nothing of that target, whose other scores then count for it. What lies outside 0..100 is clamped."""


class BadArguments(Exception):
    """Arguments in a Placement that the scorer cannot use; the message completes "scorer X: ..."."""


def number(args: Args, name: str, default: float) -> float:
    """A numeric argument. Raises `BadArguments` where it is something else."""
    value = args.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise BadArguments(f"{name} must be a number, not {value!r}")
    return float(value)
