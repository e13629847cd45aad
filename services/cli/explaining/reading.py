"""Placements and what was decided for them, from the hub or from files; from files without decisions, on paper."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from services.cli.explaining.explanation import Explanation, explain
from services.cli.offline.objects import decoded, name_of, workspace_of
from services.cli.support.errors import CommandError, UsageError
from services.cli.support.manifests import is_ours, of_kind
from shared.api import (
    ClusterRequest,
    Placement,
    PlacementDecision,
    PlacementDecisionStatus,
    decode_decision,
    decode_placement,
)
from shared.hub.decisions import IncompleteDecision, read_decision
from shared.hub.resources import CLUSTER_REQUESTS, DECISIONS, PLACEMENTS
from shared.hub.slices import joined
from shared.kube.errors import ApiError

if TYPE_CHECKING:
    from shared.kube.client import Client

Manifest = Mapping[str, Any]


async def one(client: "Client", workspace: str, namespace: str, name: str) -> Explanation:
    """The explanation of one Placement on the hub. Raises KubeError, and CommandError where there is none."""
    try:
        placement = await client.get(PLACEMENTS, name, namespace, type=Placement)
    except ApiError as error:
        if error.absent(name):
            raise CommandError(f"there is no Placement {name} in the namespace {namespace}") from None
        raise
    try:
        decision = await read_decision(client, name, namespace)
    except IncompleteDecision as error:
        decision = error.first
    status = _status(decision, placement.metadata.uid)
    asked = status is not None and status.requested_since is not None
    return explain(workspace, placement, status, await _request(client, namespace, name) if asked else None)


async def _request(client: "Client", namespace: str, name: str) -> ClusterRequest | None:
    """What is asked for; None where it cannot be read."""
    try:
        return await client.get(CLUSTER_REQUESTS, name, namespace, type=ClusterRequest)
    except ApiError as error:
        if error.not_found or error.forbidden:
            return None
        raise


async def several(client: "Client", workspace: str, namespace: str) -> list[Explanation]:
    """The explanations of all Placements of a namespace, or of all (""), by name. Raises KubeError."""
    placements = (await client.list(PLACEMENTS, namespace, type=Placement)).items
    decisions = (await client.list(DECISIONS, namespace, type=PlacementDecision)).items
    known = {_name(each.decision): each.decision for each in joined(decisions)}
    return [
        explain(workspace, each, _status(known.get(_name(each)), each.metadata.uid))
        for each in sorted(placements, key=_name)
    ]


async def on_paper(manifests: Sequence[Manifest], wanted: Callable[[str, str], bool]) -> list[Explanation]:
    """The explanations of the Placements in files that are `wanted` by namespace and name: by the PlacementDecisions
    there, or else as would be decided among the SyncTargets there.

    Raises InvalidManifest, and UsageError where there is nothing to explain by.
    """
    placements = [each for each in of_kind(manifests, "Placement") if wanted(*name_of(each))]
    decisions: dict[tuple[str, str, str], PlacementDecisionStatus] = {}
    read = [(workspace_of(each), decoded(decode_decision, each)) for each in of_kind(manifests, "PlacementDecision")]
    for workspace in {each for each, _ in read}:
        for each in joined([decision for where, decision in read if where == workspace]):
            decisions[workspace, *_name(each.decision)] = each.decision.status
    missing = [each for each in placements if (workspace_of(each), *name_of(each)) not in decisions]
    if missing and not of_kind(manifests, "SyncTarget"):
        raise UsageError(
            f"of the Placement {name_of(missing[0])[1]} there is neither a PlacementDecision nor a SyncTarget to "
            "choose from in the files"
        )
    decisions |= await _decided(manifests, missing) if missing else {}
    return [
        explain(workspace_of(each), decoded(decode_placement, each), decisions[workspace_of(each), *name_of(each)])
        for each in placements
    ]


async def _decided(
    manifests: Sequence[Manifest], placements: Sequence[Manifest]
) -> dict[tuple[str, str, str], PlacementDecisionStatus]:
    """What would be decided, as the pipeline's own code decides and records it."""
    from services.cli.offline.plane import plane_of
    from services.cli.offline.planner import Planner
    from services.cli.offline.requests import request_from

    now = time.time()
    found = {}
    targets = of_kind(manifests, "SyncTarget")
    rest = [each for each in manifests if each["kind"] != "SyncTarget" or not is_ours(each)]  # looked through often
    plane = plane_of(targets, rest, rest, rest)
    async with Planner(plane) as planner:
        for each in placements:
            request = request_from(plane, each, now)
            answer = await planner.decide(request, now)
            found[workspace_of(each), *name_of(each)] = planner.recorded(request, answer, now)
    return found


def _status(decision: PlacementDecision | None, uid: str) -> PlacementDecisionStatus | None:
    """What was decided for this very object: one of the same name may have been there before."""
    if decision is None:
        return None
    owners = [each.uid for each in decision.metadata.owner_references if each.kind == "Placement"]
    return decision.status if not owners or uid in owners else None


def _name(obj: Placement | PlacementDecision) -> tuple[str, str]:
    return obj.metadata.namespace or "default", obj.metadata.name
