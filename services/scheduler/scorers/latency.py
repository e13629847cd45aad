"""Latency: how near a target is to where it is needed."""

import numpy as np

from services.scheduler.candidates import Candidates
from services.scheduler.scorers.scorer import Args, BadArguments, number
from shared.columns import Floats

TINY = 1e-6
"""The least slope, in milliseconds, where the tolerance reaches up to the cutoff."""


def latency(candidates: Candidates, args: Args) -> Floats | None:
    """100 at the nearest feasible target, and at those at most `tolerance` milliseconds further; from there it falls
    evenly to 0 at `cutoff` milliseconds.

    A few milliseconds are chance, and would have all placements go to one of many targets that are alike.

    `from` (a name or a list) are the origins, of which the mean counts; else the installation's origin. A target
    without a measurement from one of them is unknown. Abstains where nothing is measured.
    """
    origins = args.get("from", candidates.settings.origin)
    origins = [origins] if isinstance(origins, str) else origins
    if not isinstance(origins, list | tuple) or not origins or not all(isinstance(each, str) for each in origins):
        raise BadArguments("from must be the name of an origin, or a list of names")
    cutoff = number(args, "cutoff", candidates.settings.latency_cutoff_milliseconds)
    tolerance = max(number(args, "tolerance", candidates.settings.latency_tolerance_milliseconds), 0.0)
    measured = [candidates.values("latency", origin) for origin in origins]
    distance: Floats = np.sum([np.where(each >= 0.0, each, np.nan) / len(origins) for each in measured], axis=0)
    nearest = np.fmin.reduce(distance, initial=np.inf)  # of NaN and a number, it takes the number
    if nearest == np.inf:
        return None
    if nearest >= cutoff:
        return np.where(np.isnan(distance), np.nan, 0.0)
    slope = max(cutoff - nearest - tolerance, TINY)
    return np.asarray(100.0 * ((cutoff - np.minimum(distance, cutoff)) / slope).clip(0.0, 1.0), np.float64)
