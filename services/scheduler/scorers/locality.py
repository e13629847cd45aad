"""Locality: targets in the zone, else the region, else at the provider, where the placement belongs."""

from collections.abc import Mapping

import numpy as np

from services.scheduler.candidates import Candidates
from services.scheduler.scorers.scorer import Args, BadArguments
from shared.api import REGION_LABEL, ZONE_LABEL
from shared.columns import Floats
from shared.hub.names import PROVIDER_LABEL

FROM_NARROW_TO_WIDE = (ZONE_LABEL, REGION_LABEL, PROVIDER_LABEL)


def locality(candidates: Candidates, args: Args) -> Floats | None:
    """100 where the narrowest of the wanted labels agrees, evenly less for each wider one, 0 where none does.

    `near` maps labels, from narrow to wide, to the values wanted; without it, the Placement's own zone, region and
    provider labels say where it belongs. Abstains where nothing does.
    """
    own = candidates.request.labels
    near = args.get("near", {key: own[key] for key in FROM_NARROW_TO_WIDE if key in own})
    if not isinstance(near, Mapping) or not all(isinstance(part, str) for pair in near.items() for part in pair):
        raise BadArguments("near must map labels to values")
    if not near:
        return None
    points: Floats = np.zeros(len(candidates))
    for distance, (key, value) in enumerate(near.items()):
        here = candidates.has("label", value, key)
        points = np.maximum(points, here * (100.0 * (len(near) - distance) / len(near)))
    return points
