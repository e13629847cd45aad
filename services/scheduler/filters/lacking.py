"""What targets lack of a resource, in numbers."""

import numpy as np

from shared.columns import Bools, Floats
from shared.model.resources import spoken


def lacking(resource: str, needed: float | Floats, free: Floats, short: Bools) -> str:
    """What the `short` need and how much the best of them has; nothing where none is short."""
    if not np.count_nonzero(short):
        return ""
    least = float(np.broadcast_to(needed, short.shape)[short].min())
    most = max(0.0, float(free[short].max()))
    return f"needs {spoken(resource, max(0.0, least))}, the most that one of them has left is {spoken(resource, most)}"
