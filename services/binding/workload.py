"""What is wanted in a target, worked out from what the Placement's workspace has."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from services.binding import core, errors
from services.binding.core import Collected, Object, UnreadPart, Wanted
from services.binding.judge import Order
from services.binding.trouble import Trouble, lasting, passing
from shared.aio.lru import Lru
from shared.aio.sharing import JointReads, Kept
from shared.api import LabelSelector, Placement, PlacementSpec, WorkloadSelector
from shared.broker.table import View
from shared.broker.tokens import join
from shared.hub.access import Access
from shared.hub.declared import digest_of, kinds_of
from shared.hub.hub import Hub
from shared.hub.kinds import BUILT_IN, Kinds, is_built_in
from shared.hub.names import REQUESTER_ANNOTATION, applyset_of
from shared.hub.reading import Item, may_read
from shared.hub.references import REFERRED, Reference, is_made_by_cluster, left_behind, references, selecting
from shared.hub.rendering import Unfit, input_digest, matching, source_hash
from shared.hub.requester import requester_of
from shared.hub.selecting import nothing, of_kinds
from shared.kube.apis import RestMapper, UnknownKind
from shared.kube.client import Client
from shared.kube.errors import ApiError, KubeError
from shared.kube.resources import NAMESPACES, SERVICES, Resource
from shared.kube.text import named
from shared.model.declared import DeclaredKind
from shared.model.refs import PlacementRef, above
from shared.model.request import Requester
from shared.pipeline.messages import Assigned

_KEPT = 2.0  # seconds
_MOST_KEPT = 64  # workloads at a time, some of which are large
_WORKSPACES = 1000  # whose kinds are remembered
_ITS_NAMESPACE = Resource("", "v1", "namespaces", kind="Namespace")  # authorizers see a namespace as within itself
_TOKEN = "kubernetes.io/service-account-token"  # noqa: S105 - a type of Secret
_UNREADABLE = ("NotReadable", "UnknownKind")


class _Changed(Exception):
    """What there is now is not what was decided."""


class Workloads:
    """The workloads of Placements. What each workspace serves is remembered, for some of them."""

    def __init__(self, hub: Hub, access: Access, declared: View[DeclaredKind]) -> None:
        self._hub = hub
        self._declared = declared
        self._access = access
        self._kept: Kept[tuple[Any, ...], Collected] = Kept(seconds=_KEPT, limit=_MOST_KEPT)
        self._mappers: Lru[str, RestMapper] = Lru(_WORKSPACES)
        self._all_services: JointReads[tuple[str, str], Sequence[Object]] = JointReads(self._list_services)

    async def wanted(
        self, message: Assigned, placement: Placement, order: Order, target_labels: Mapping[str, str], *, anew: bool
    ) -> Wanted | Trouble | None:
        """What is to be in a target of these labels, or why that cannot be worked out; None where what there is now is
        not what was decided. Raises what reading raises.

        Unless it is to be looked at `anew`, what other targets of the attempt got a moment ago is what there is now.
        """
        ref, spec = message.placement, placement.spec
        try:
            collected = await self._decided(message, placement, order.digest, anew=anew)
            overrides = matching(spec.overrides, target_labels) if order.overrides is None else order.overrides
            return core.wanted(
                ref, spec, collected, overrides=overrides, replicas=order.replicas, applyset=applyset_of(ref)
            )
        except _Changed:
            return None
        except Trouble as problem:
            return problem
        except Unfit as error:
            return lasting("Unfit", str(error))
        except ApiError as error:
            if not error.forbidden:
                raise
            return errors.of(error, f"workspace {ref.workspace or 'hub'}")

    async def namespace_labels(self, ref: PlacementRef, placement: Placement) -> Mapping[str, str] | str:
        """The labels of the Placement's namespace; or one sentence that says why they are not to be had.

        Raises Trouble where the hub does not answer.
        """
        item = Item(_ITS_NAMESPACE, ref.namespace)
        answer = await may_read(self._access, requester_of(placement), ref.workspace, ref.namespace, [item])
        if answer.permission != "Allowed":
            return f"the requester may not get Namespace {ref.namespace}"
        try:
            found = await self._hub.at(ref.workspace).get(NAMESPACES, ref.namespace)
        except KubeError as error:
            if isinstance(error, ApiError) and (error.forbidden or error.not_found):
                return f"Namespace {ref.namespace} cannot be read"
            raise passing("HubUnavailable", f"hub: {error}") from error
        labels = found["metadata"].get("labels")
        return labels if isinstance(labels, dict) else {}

    async def _decided(self, message: Assigned, placement: Placement, digest: str, *, anew: bool) -> Collected:
        """What was collected for an attempt, once for all its targets where a digest says that it is what was decided.

        Whatever else comes along and changes is followed by another attempt. Raises _Changed, and as `_collect`.
        """
        ref, spec, requester = message.placement, placement.spec, requester_of(placement)

        async def collect() -> Collected:
            collected = await self._collect(ref, spec, requester, in_part=bool(digest))
            used = {(str(each.get("apiVersion", "")), str(each.get("kind", ""))) for each in collected.workload}
            declared = digest_of(collected.kinds, used)
            if digest and digest != input_digest(spec, list(map(source_hash, collected.workload)), declared):
                for part in collected.unread:
                    if not part.optional:  # it was read when that was decided
                        raise part.trouble
                raise _Changed
            return collected

        if anew or not digest:
            return await collect()
        metadata = placement.metadata
        who = metadata.annotations.get(REQUESTER_ANNOTATION, "")
        return await self._kept.get(
            (ref, metadata.uid, metadata.generation, who, message.head.attempt, digest), collect
        )

    async def _collect(
        self, ref: PlacementRef, spec: PlacementSpec, requester: Requester | None, *, in_part: bool
    ) -> Collected:
        """The selected objects, and what they refer to; `in_part`, with a note where an object is not there, and with
        the selectors of what cannot be read, if anything can.

        Raises Trouble for an object or a kind that is not there or that the requester may not read, and what reading
        raises.
        """
        selected: dict[tuple[str, ...], Object] = {}  # each once, however many selectors mean it
        gone: list[str] = []
        unread: list[UnreadPart] = []
        for selector in spec.workload:
            some = False
            for one in of_kinds(selector):
                try:
                    found = await self._select(ref, one, requester, in_part=in_part)
                except Trouble as problem:
                    optional = selector.all and problem.reason == "UnknownKind"
                    if not optional and (not in_part or problem.reason not in _UNREADABLE):
                        raise
                    unread.append(UnreadPart(one.api_version, one.kind, one.name, problem, optional))
                    some = some or not optional  # as far as anybody knows
                    continue
                selected.update((_key(each), each) for each in found)
                some = some or bool(found)
            gone += () if some else (f"{nothing(selector, 'The workload', ref.namespace)}: it is taken away.",)
        workload = (*selected.values(), *spec.manifests)
        lacking = [each for each in unread if not each.optional]
        if lacking and not workload:
            raise lacking[0].trouble
        kinds = await self._kinds(ref.workspace, workload)
        if not spec.follow_references:
            return Collected(workload, (), tuple(gone), kinds, tuple(unread))
        referred, notes = await self._follow(ref, workload, requester, kinds)
        return Collected(workload, tuple(referred), (*gone, *notes), kinds, tuple(unread))

    async def _kinds(self, workspace: str, workload: Iterable[Mapping[str, Any]]) -> Kinds:
        """What the workspace knows. What is declared is asked for, as it is now, only where something may need it."""
        if all(is_built_in(str(each.get("apiVersion", "")), str(each.get("kind", ""))) for each in workload):
            return BUILT_IN
        found = [await self._declared.read(join(path)) for path in above(workspace)]
        return kinds_of(workspace, (entry.value for entries in found for entry in entries))

    async def _select(
        self, ref: PlacementRef, selector: WorkloadSelector, requester: Requester | None, *, in_part: bool
    ) -> list[Object]:
        client, where = self._hub.at(ref.workspace), f"workspace {ref.workspace or 'hub'}"
        try:
            resource = await self._mapper(ref.workspace).resource(selector.api_version, selector.kind)
        except UnknownKind as error:
            raise lasting("UnknownKind", f"{where}: {error}") from None
        if not selector.name and not resource.namespaced:
            raise lasting(
                "ClusterScoped", f"{selector.kind} objects are in no namespace, and are placed by their names"
            )
        await self._check_reading(ref, requester, [Item(resource, selector.name or "")])
        if not selector.name:
            page = await client.list(resource, ref.namespace, label_selector=selector_text(selector.label_selector))
            bare = {"apiVersion": resource.api_version, "kind": resource.kind}
            found = [obj for obj in page.items if not is_made_by_cluster({**bare, **obj})]
            return sorted(found, key=lambda obj: str(obj["metadata"]["name"]))
        try:
            return [await client.get(resource, selector.name, ref.namespace)]
        except ApiError as error:
            if not error.not_found:
                raise
            if in_part and error.absent(selector.name):
                return []  # whether that is what was decided, the digest says
            what = named(selector.kind, selector.name, ref.namespace if resource.namespaced else "")
            raise lasting("WorkloadNotFound", f"{what} is not in {where}") from None

    async def _check_reading(self, ref: PlacementRef, requester: Requester | None, items: Iterable[Item]) -> None:
        """Raise Trouble for what the requester may not read, before anybody reads it."""
        answer = await may_read(self._access, requester, ref.workspace, ref.namespace, items)
        if answer.permission == "Unknown":
            raise Trouble("PermissionGranted", "AuthorizationUnknown", answer.sentence, lasting=False)
        if answer.permission != "Allowed":
            raise Trouble("PermissionGranted", "NotReadable", answer.sentence, lasting=True)

    async def _follow(
        self, ref: PlacementRef, workload: Sequence[Object], requester: Requester | None, kinds: Kinds
    ) -> tuple[list[Object], list[str]]:
        needed: dict[tuple[str, str], Reference] = {}
        for found in sorted({each for obj in workload for each in references(obj, kinds)}):
            needed.setdefault((found.kind, found.name), found)  # what is needed sorts before what is optional
        await self._check_reading(ref, requester, [Item(REFERRED[each.kind], each.name) for each in needed.values()])
        client = self._hub.at(ref.workspace)
        services, hidden = await self._services(ref, workload, requester, kinds)
        objects = await asyncio.gather(*(_read(client, ref.namespace, each) for each in needed.values()))
        named = sorted({each for obj in objects if obj is not None for each in references(obj, kinds)})
        further = {(each.kind, each.name): each for each in named if (each.kind, each.name) not in needed}
        if further:  # what the referred objects name themselves, as a ServiceAccount its pull secrets
            await self._check_reading(ref, requester, [Item(REFERRED[kind], name) for kind, name in further])
            needed |= further
            objects += await asyncio.gather(*(_read(client, ref.namespace, each) for each in further.values()))
        notes = [
            f"{each.kind} {each.name} is not in the workspace."
            for each, obj in zip(needed.values(), objects, strict=True)
            if obj is None and not each.optional
        ]
        behind = sorted({each for obj in workload for each in left_behind(obj, kinds)})
        notes += [f"{each} does not come along: it has to be in the target." for each in behind]
        if hidden:
            notes.append(f"{hidden} Services are left out that the requester may not get.")
        carried = [obj for obj in objects if obj is not None and obj.get("type") != _TOKEN]
        return carried + services, notes

    async def _services(
        self, ref: PlacementRef, workload: Sequence[Object], requester: Requester | None, kinds: Kinds
    ) -> tuple[list[Object], int]:
        """The Services that select the workload's pods, and how many more there are that the requester may not read.
        Nobody asked for these by name, so they are left out.
        """
        found = selecting(await self._all_services.get((ref.workspace, ref.namespace)), workload, kinds)
        readable = []
        for service in found:
            item = Item(SERVICES, str(service["metadata"]["name"]))
            answer = await may_read(self._access, requester, ref.workspace, ref.namespace, [item])
            if answer.permission == "Unknown":  # what is in the target already must not go for that
                raise Trouble("PermissionGranted", "AuthorizationUnknown", answer.sentence, lasting=False)
            if answer.permission == "Allowed":
                readable.append(service)
        return readable, len(found) - len(readable)

    async def _list_services(self, where: tuple[str, str]) -> Sequence[Object]:
        """All Services of a namespace of a workspace; a workspace without the kind has none. Each of many Placements
        there would list the same: those who ask at the same time share what is read.
        """
        workspace, namespace = where
        try:
            return (await self._hub.at(workspace).list(SERVICES, namespace)).items
        except ApiError as error:
            if error.not_found:
                return []
            raise

    def _mapper(self, workspace: str) -> RestMapper:
        found = self._mappers.get(workspace)
        if found is None:
            found = RestMapper(self._hub.at(workspace))
            self._mappers.put(workspace, found)
        return found


async def _read(client: Client, namespace: str, reference: Reference) -> Object | None:
    try:
        return await client.get(REFERRED[reference.kind], reference.name, namespace)
    except ApiError as error:
        if error.not_found:
            return None
        raise


def _key(obj: Object) -> tuple[str, str, str, str]:
    metadata = obj["metadata"]
    return obj["apiVersion"], obj["kind"], metadata.get("namespace", ""), metadata["name"]


def selector_text(selector: LabelSelector | None) -> str:
    """A label selector as the query parameter `labelSelector` has it."""
    if selector is None:
        return ""
    parts = [f"{key}={value}" for key, value in sorted(selector.match_labels.items())]
    parts += [_requirement(each.key, each.operator, each.values) for each in selector.match_expressions]
    return ",".join(parts)


def _requirement(key: str, operator: str, values: Iterable[str]) -> str:
    match operator:
        case "Exists":
            return key
        case "DoesNotExist":
            return f"!{key}"
        case _:
            return f"{key} {operator.lower()} ({','.join(values)})"
