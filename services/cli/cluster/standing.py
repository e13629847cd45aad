"""Placements that are in a cluster, as they stand: read from the hub, and why one is still there."""

from collections.abc import Collection

from services.cli.cluster.facts import Occupant
from services.cli.cluster.hub import ClusterHub
from shared.api import Placement, decode_placement, get_condition
from shared.hub.resources import PLACEMENTS
from shared.kube.errors import ApiError
from shared.model.refs import PlacementRef


async def placements_of(hub: ClusterHub, refs: Collection[PlacementRef]) -> dict[PlacementRef, Placement]:
    """These Placements as the hub has them; what is gone is left out."""
    found = {}
    for path, objects in (await hub.of_all(PLACEMENTS, sorted({ref.workspace for ref in refs}))).items():
        for each in map(decode_placement, objects):
            ref = PlacementRef(workspace=path, namespace=each.metadata.namespace, name=each.metadata.name)
            if ref in refs:
                found[ref] = each
    return found


async def why_here(hub: ClusterHub, placed: Occupant) -> str:
    """Why a placement is still in a target that it is to leave, in a clause."""
    ref, _, binding = placed
    if binding.metadata.deletion_timestamp:
        return "is being taken away"
    try:
        placement = decode_placement(await hub.hub.at(ref.workspace).get(PLACEMENTS, ref.name, ref.namespace))
    except ApiError as error:
        return f"cannot be read: {error.message or error.status}"
    if placement.spec.suspend:
        return "is suspended"
    scheduled = get_condition(placement.status.conditions, "Scheduled")
    if scheduled is not None and scheduled.status != "True":
        return f"fits nowhere else: {scheduled.message}"
    return "waits for its turn, or to be healthy elsewhere"
