"""Cost: how cheap the request is in a target."""

import numpy as np

from services.scheduler.round import Round
from services.scheduler.scorers.scorer import Args
from services.scheduler.snapshot import Floats

GIB = 1024.0**3


def cost(round: Round, args: Args) -> Floats | None:  # noqa: ARG001 - every scorer has this signature
    """100 · cheapest / price: 100 for the cheapest feasible target, 50 for one at twice its price.

    The price is that of the requested cpu and memory for an hour; what has a zero price is as good as the cheapest
    only beside others of zero. A target without prices is unknown; abstains where none has any.
    """
    asked = round.demand.total
    price = round.values("cost_per_cpu_hour") * asked.get("cpu", 0.0)
    price = price + round.values("cost_per_gib_hour") * (asked.get("memory", 0.0) / GIB)
    known = price[np.isfinite(price)]
    if not len(known):
        return None
    cheapest = known.min()
    points: Floats = np.full(len(round), 100.0)
    np.divide(100.0 * cheapest, price, out=points, where=price > cheapest)
    return np.where(np.isfinite(price), points, np.nan)
