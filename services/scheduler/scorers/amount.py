"""Amount: how much of a resource a target has, beside the least and the most that any candidate has."""

import numpy as np

from services.scheduler.candidates import Candidates
from services.scheduler.scorers.scorer import Args, BadArguments
from shared.columns import Floats

OF = ("Free", "Allocatable")


def amount(candidates: Candidates, args: Args) -> Floats | None:
    """100 · (amount − least) / (most − least) over the feasible targets, of the `resource` (cpu) that is `of` a target:
    Free for this placement, or Allocatable. 100 where all have as much; unknown where a target has none of it.

    As Open Cluster Management's ResourceAllocatable and KubeFleet's preference by property; a negative weight prefers
    the least.
    """
    resource, of = args.get("resource", "cpu"), args.get("of", OF[0])
    if not isinstance(resource, str) or not resource:
        raise BadArguments("resource must be the name of one")
    if of not in OF:
        raise BadArguments(f"of must be one of {', '.join(OF)}, not {of!r}")
    there: Floats = candidates.values("allocatable_or_nan", resource)
    amounts = there if of == "Allocatable" else np.where(np.isnan(there), np.nan, candidates.free(resource))
    least, most = np.fmin.reduce(amounts, initial=np.inf), np.fmax.reduce(amounts, initial=-np.inf)
    if least > most:
        return None
    if least == most:
        return np.where(np.isnan(amounts), np.nan, 100.0)
    return np.asarray(100.0 * (amounts - least) / (most - least), np.float64)
