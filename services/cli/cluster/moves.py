"""Where the placements of a cluster would go if it were drained: decided on paper, by the pipeline's own code."""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final

import msgspec

from services.cli.cluster.facts import Occupant, tolerating
from services.cli.cluster.hub import ClusterHub, Object
from services.cli.support.draining import drained
from services.cli.support.errors import CommandError
from services.cli.support.manifests import InvalidManifest, Manifest
from shared.api import InvalidObject, Taint, decode_placement, decode_policy
from shared.hub.access import DENIED, AccessReviews
from shared.hub.names import DRAIN_TAINT
from shared.hub.parameters import is_secret
from shared.hub.requester import requester_of
from shared.hub.resources import (
    DECISIONS,
    EXCEPTIONS,
    OVERRIDES,
    PLACEMENTS,
    POLICIES,
    SYNCTARGETS,
    WORKLOAD_KINDS,
    WORKSPACES,
)
from shared.hub.selecting import of_kinds
from shared.kube.apis import RestMapper, UnknownKind
from shared.kube.errors import ApiError
from shared.kube.resources import NAMESPACES
from shared.kube.times import rfc3339
from shared.model.refs import PlacementRef
from shared.process.settings import AccessSettings

if TYPE_CHECKING:
    from services.cli.offline.plane import Plane

PATH: Final = "kcp.io/path"


class Move(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What would become of one placement: the targets that it has and would have, or why it stays."""

    placement: PlacementRef
    before: tuple[str, ...]
    after: tuple[str, ...] = ()
    stays: str = ""


async def moves(
    hub: ClusterHub, name: str, placed: Sequence[Occupant], trusted: Sequence[str] | None = None
) -> list[Move]:
    """What would become of each placement that a target has, one after the other, each seeing what those before took.

    It is a forecast: by the time of the drain others may be faster. Whom the operator `trusts` as provider only
    discovery knows, by its setting; None: everybody. Raises CommandError, and what the hub answers.
    """
    from services.cli.offline.planner import Planner
    from services.cli.offline.requests import request_from

    now = time.time()
    placements = await _placements(hub, placed)
    unread: dict[PlacementRef, str] = {}
    workloads = await _workloads(hub, placements, unread)
    plane = await _plane(hub, name, placements, workloads, now)
    plane.trusted = None if trusted is None else tuple(trusted)
    settings = AccessSettings(hub=hub.hub.kind)
    access = AccessReviews(hub.hub, settings, time.monotonic)
    found = []
    async with Planner(plane) as planner:
        for ref, manifest in placements.items():
            before = tuple(choice.target for choice in plane.previous.get(ref, ()))
            decoded = decode_placement(manifest)
            if tolerating(decoded):
                found.append(Move(placement=ref, before=before, stays=f"it tolerates the taint {DRAIN_TAINT}"))
                continue
            if ref in unread:
                found.append(Move(placement=ref, before=before, stays=f"nobody can say: {unread[ref]}"))
                continue
            request = msgspec.structs.replace(request_from(plane, manifest, now), leaving=(hub.id(name),))
            permissions = await access.may_use(requester_of(decoded), sorted(plane.targets))
            denied = {target for target, each in permissions.items() if each in DENIED}
            proposal = (await planner.decide(request, now, without=denied)).outcome.proposal
            if proposal.refusal is not None:
                found.append(Move(placement=ref, before=before, stays=proposal.refusal.message))
                continue
            plane.hold(ref, request.labels, {each.target: each.reserve for each in proposal.selected})
            found.append(Move(placement=ref, before=before, after=tuple(each.target for each in proposal.selected)))
    await access.close()
    return found


async def _placements(hub: ClusterHub, placed: Iterable[Occupant]) -> dict[PlacementRef, Object]:
    """The Placements that have something there, as the hub has them; what is gone meanwhile is left out."""
    wanted = {each.placement for each in placed}
    paths = sorted({ref.workspace for ref in wanted})
    found = {}
    for path, objects in (await hub.of_all(PLACEMENTS, paths)).items():
        for each in objects:
            metadata = each["metadata"]
            ref = PlacementRef(workspace=path, namespace=metadata["namespace"], name=metadata["name"])
            if ref in wanted:
                found[ref] = _at(path, each)
    return dict(sorted(found.items()))


async def _plane(
    hub: ClusterHub, name: str, placements: dict[PlacementRef, Object], workloads: Iterable[Object], now: float
) -> "Plane":
    from services.cli.offline.plane import plane_of

    paths = await hub.workspaces()
    kinds = (SYNCTARGETS, POLICIES, EXCEPTIONS, WORKLOAD_KINDS, DECISIONS, OVERRIDES, NAMESPACES, WORKSPACES)
    targets, policies, exceptions, declared, decisions, overrides, *labelled = (
        [_at(path, each) for path, objects in found.items() for each in objects]
        for found in await asyncio.gather(*(hub.of_all(kind, paths) for kind in kinds))
    )
    for each in targets:
        if each["metadata"]["name"] == name and _path(each) == hub.workspace:
            spec = each.setdefault("spec", {})
            known = [msgspec.convert(taint, Taint) for taint in spec.get("taints") or ()]
            taints = drained(known, rfc3339(now, "seconds"))
            spec |= {"unschedulable": True, "taints": [msgspec.to_builtins(taint) for taint in taints]}
    there = {(_path(each), each["metadata"]["name"]) for each in policies}
    granted = [each for each in exceptions if (_path(each), each["spec"]["policy"]) in there]
    rules = [*policies, *granted, *await _parameters(hub, policies)]
    try:
        return plane_of(
            targets, [*placements.values(), *workloads, *declared, *overrides, *chain(*labelled)], rules, decisions
        )
    except InvalidManifest as error:
        raise CommandError(f"nobody can say where placements would go: {error}") from None


async def _parameters(hub: ClusterHub, policies: Iterable[Object]) -> list[Object]:
    """What policies take parameters from, as far as the caller may read it."""
    found: list[Object] = []
    for policy in policies:
        with contextlib.suppress(ApiError, UnknownKind, InvalidObject):
            ref, client = decode_policy(policy).spec.param_ref, hub.hub.at(_path(policy))
            if ref is None or is_secret(ref):
                continue
            resource = await RestMapper(client).resource(ref.api_version, ref.kind)
            obj = await client.get(resource, ref.name, ref.namespace)
            found.append(_at(_path(policy), {**obj, "apiVersion": ref.api_version, "kind": ref.kind}))
    return found


async def _workloads(
    hub: ClusterHub, placements: dict[PlacementRef, Object], unread: dict[PlacementRef, str]
) -> list[Object]:
    """What the Placements may select, by whole collections; a Placement of whose kinds one cannot be read is noted."""
    mappers: dict[str, RestMapper] = {}
    known: dict[tuple[str, str, str, str], list[Object] | ApiError | UnknownKind] = {}
    for ref, manifest in placements.items():
        selectors = decode_placement(manifest).spec.workload
        for one, optional in ((one, each.all) for each in selectors for one in of_kinds(each)):
            key = (ref.workspace, one.api_version, one.kind, ref.namespace)
            if key not in known:
                client = hub.hub.at(ref.workspace)
                mapper = mappers.setdefault(ref.workspace, RestMapper(client))
                try:
                    resource = await mapper.resource(one.api_version, one.kind)
                    listed = (await client.list(resource, ref.namespace if resource.namespaced else "")).items
                    known[key] = [_at(ref.workspace, each) for each in listed]
                except (ApiError, UnknownKind) as error:
                    known[key] = error
            found = known[key]
            if not isinstance(found, list) and not (optional and isinstance(found, UnknownKind)):
                unread[ref] = str(found)
    return [each for found in known.values() if isinstance(found, list) for each in found]


def _at(path: str, obj: Object) -> Manifest:
    """An object as the planner takes it, which knows workspaces by an annotation."""
    metadata = obj["metadata"]
    annotations = {**(metadata.get("annotations") or {}), PATH: path}
    where = f"workspace {path}" if path else "the hub"
    return Manifest({**obj, "metadata": {**metadata, "annotations": annotations}}, where)


def _path(obj: Object) -> str:
    return str(obj["metadata"]["annotations"][PATH])
