"""Cost: how cheap the request is in a target."""

import numpy as np

from services.scheduler.candidates import Candidates
from services.scheduler.scorers.scorer import Args
from shared.columns import Floats

GIB = 1024.0**3


def cost(candidates: Candidates, args: Args) -> Floats | None:  # noqa: ARG001 - every scorer has this signature
    """100 · cheapest / price: 100 for the cheapest feasible target, 50 for one at twice its price.

    The price is that of the requested cpu and memory for an hour; what has a zero price is as good as the cheapest
    only beside others of zero, and what costs more than a double can say gets 0. A target without prices is unknown;
    abstains where none has any.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # none of what is infinitely dear has no price that is known
        price: Floats = candidates.values("cost_per_cpu_hour") * candidates.demands.total("cpu")
        price = price + candidates.values("cost_per_gib_hour") * (candidates.demands.total("memory") / GIB)
    cheapest = np.fmin.reduce(price, initial=np.inf)  # of NaN and a number, it takes the number
    if cheapest == np.inf:
        return None
    share: Floats = np.where(np.isnan(price), np.nan, 1.0)
    np.divide(cheapest, price, out=share, where=price > cheapest)
    return 100.0 * share
