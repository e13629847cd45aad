"""Spread: domains that hold fewer placements of the same namespace."""

import numpy as np

from services.scheduler.candidates import Candidates
from services.scheduler.scorers.scorer import Args, BadArguments
from shared.columns import Floats


def spread(candidates: Candidates, args: Args) -> Floats | None:
    """100 · (1 − placements in the target's domain / placements in the fullest domain), the own one not counted.

    Domains are the values of the label `topologyKey`, by default the first of the Placement's spread constraints, else
    the installation's. Abstains while the namespace has nothing placed.
    """
    first = candidates.spec.spread[0].topology_key if candidates.spec.spread else candidates.settings.spread_key
    key = args.get("topologyKey", first)
    if not isinstance(key, str):
        raise BadArguments("topologyKey must be a label")
    own, snapshot = candidates.request.placement, candidates.snapshot
    column = snapshot.codes("label", key)
    held: Floats = np.zeros(max(len(column.distinct), 1))
    for placement, _ in snapshot.taken.neighbours(own.workspace, own.namespace):
        for target in snapshot.taken.targets_of(placement) if placement != own else ():
            row = snapshot.rows.get(target)
            if row is not None:
                held[column.values[row]] += 1.0
    here = held[column.values[candidates.index]]
    fullest = here.max(initial=0.0)
    return np.asarray(100.0 * (1.0 - here / fullest), np.float64) if fullest else None
