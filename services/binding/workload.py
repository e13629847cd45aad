"""What is wanted in a target, worked out from what the Placement's workspace has."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from services.binding import core, errors
from services.binding.core import Collected, Object, Wanted
from services.binding.judge import Order
from services.binding.trouble import Trouble, lasting
from shared.aio.lru import Lru
from shared.aio.sharing import Kept
from shared.api import LabelSelector, Placement, PlacementSpec, WorkloadSelector
from shared.hub.access import Access
from shared.hub.hub import Hub
from shared.hub.names import REQUESTER_ANNOTATION, applyset_of
from shared.hub.reading import Item, may_read
from shared.hub.references import REFERRED, Reference, references, selecting
from shared.hub.rendering import Unfit, input_digest, matching, source_hash
from shared.hub.requester import requester_of
from shared.kube.apis import RestMapper, UnknownKind
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.resources import SERVICES
from shared.model.refs import PlacementRef
from shared.model.request import Requester
from shared.pipeline.messages import Assigned

_KEPT = 2.0  # seconds
_MOST_KEPT = 64  # workloads at a time, some of which are large
_WORKSPACES = 1000  # whose kinds are remembered
_TOKEN = "kubernetes.io/service-account-token"  # noqa: S105 - a type of Secret


class _Changed(Exception):
    """What there is now is not what was decided."""


class Workloads:
    """The workloads of Placements. What each workspace serves is remembered, for some of them."""

    def __init__(self, hub: Hub, access: Access) -> None:
        self._hub = hub
        self._access = access
        self._kept: Kept[tuple[Any, ...], Collected] = Kept(seconds=_KEPT, limit=_MOST_KEPT)
        self._mappers: Lru[str, RestMapper] = Lru(_WORKSPACES)

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

    async def _decided(self, message: Assigned, placement: Placement, digest: str, *, anew: bool) -> Collected:
        """What was collected for an attempt, once for all its targets where a digest says that it is what was decided.

        Whatever else comes along and changes is followed by another attempt. Raises _Changed, and as `_collect`.
        """
        ref, spec, requester = message.placement, placement.spec, requester_of(placement)

        async def collect() -> Collected:
            collected = await self._collect(ref, spec, requester)
            if digest and digest != input_digest(spec, list(map(source_hash, collected.workload))):
                raise _Changed
            return collected

        if anew or not digest:
            return await collect()
        metadata = placement.metadata
        who = metadata.annotations.get(REQUESTER_ANNOTATION, "")
        return await self._kept.get(
            (ref, metadata.uid, metadata.generation, who, message.head.attempt, digest), collect
        )

    async def _collect(self, ref: PlacementRef, spec: PlacementSpec, requester: Requester | None) -> Collected:
        """The selected objects, and what they refer to.

        Raises Trouble for an object or a kind that is not there or that the requester may not read, and what reading
        raises.
        """
        selected: list[Object] = []
        for selector in spec.workload:
            selected += await self._select(ref, selector, requester)
        workload = (*selected, *spec.manifests)
        if not spec.follow_references:
            return Collected(workload)
        referred, notes = await self._follow(ref, workload, requester)
        return Collected(workload, tuple(referred), tuple(notes))

    async def _select(self, ref: PlacementRef, selector: WorkloadSelector, requester: Requester | None) -> list[Object]:
        client, where = self._hub.at(ref.workspace), f"workspace {ref.workspace or 'hub'}"
        try:
            resource = await self._mapper(ref.workspace).resource(selector.api_version, selector.kind)
        except UnknownKind as error:
            raise lasting("UnknownKind", f"{where}: {error}") from None
        await self._check_reading(ref, requester, [Item(resource, selector.name or "")])
        if not selector.name:
            page = await client.list(resource, ref.namespace, label_selector=selector_text(selector.label_selector))
            return sorted(page.items, key=lambda obj: str(obj["metadata"]["name"]))
        try:
            return [await client.get(resource, selector.name, ref.namespace)]
        except ApiError as error:
            if not error.not_found:
                raise
            raise lasting(
                "WorkloadNotFound", f"{selector.kind} {ref.namespace}/{selector.name} is not in {where}"
            ) from None

    async def _check_reading(self, ref: PlacementRef, requester: Requester | None, items: Iterable[Item]) -> None:
        """Raise Trouble for what the requester may not read, before anybody reads it."""
        answer = await may_read(self._access, requester, ref.workspace, ref.namespace, items)
        if answer.permission == "Unknown":
            raise Trouble("PermissionGranted", "AuthorizationUnknown", answer.sentence, lasting=False)
        if answer.permission != "Allowed":
            raise Trouble("PermissionGranted", "NotReadable", answer.sentence, lasting=True)

    async def _follow(
        self, ref: PlacementRef, workload: Sequence[Object], requester: Requester | None
    ) -> tuple[list[Object], list[str]]:
        needed: dict[tuple[str, str], Reference] = {}
        for found in sorted({each for obj in workload for each in references(obj)}):
            needed.setdefault((found.kind, found.name), found)  # what is needed sorts before what is optional
        await self._check_reading(ref, requester, [Item(REFERRED[each.kind], each.name) for each in needed.values()])
        client = self._hub.at(ref.workspace)
        services, hidden = await self._services(client, ref, workload, requester)
        objects = await asyncio.gather(*(_read(client, ref.namespace, each) for each in needed.values()))
        notes = [
            f"{each.kind} {each.name} is not in the workspace."
            for each, obj in zip(needed.values(), objects, strict=True)
            if obj is None and not each.optional
        ]
        if hidden:
            notes.append(f"{hidden} Services are left out that the requester may not get.")
        carried = [obj for obj in objects if obj is not None and obj.get("type") != _TOKEN]
        return carried + services, notes

    async def _services(
        self, client: Client, ref: PlacementRef, workload: Sequence[Object], requester: Requester | None
    ) -> tuple[list[Object], int]:
        """The Services that select the workload's pods, and how many more there are that the requester may not read.
        Nobody asked for these by name, so they are left out.
        """
        try:
            page = await client.list(SERVICES, ref.namespace)
        except ApiError as error:
            if error.not_found:
                return [], 0  # a workspace without the kind has none of them
            raise
        found = selecting(page.items, workload)
        readable = []
        for service in found:
            item = Item(SERVICES, str(service["metadata"]["name"]))
            answer = await may_read(self._access, requester, ref.workspace, ref.namespace, [item])
            if answer.permission == "Unknown":  # what is in the target already must not go for that
                raise Trouble("PermissionGranted", "AuthorizationUnknown", answer.sentence, lasting=False)
            if answer.permission == "Allowed":
                readable.append(service)
        return readable, len(found) - len(readable)

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
