"""The request that a question asks about: from what came along, and what of it is on the hub."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from services.intake import core
from services.intake.core import RequestRejected, ToDecide
from services.intake.overrides import OverridesInForce
from services.intake.writing import Writer
from shared.api import (
    API_VERSION,
    InvalidObject,
    Placement,
    PlacementDecisionStatus,
    WorkloadSelector,
    decode_placement,
    matches,
    validate_placement,
)
from shared.broker.table import View
from shared.hub.access import Access, Action
from shared.hub.counting import CountedDemand, demand
from shared.hub.decisions import read_decision
from shared.hub.declared import kinds_of
from shared.hub.history import moved_at
from shared.hub.hub import Hub
from shared.hub.kinds import BUILT_IN
from shared.hub.reading import EVERYTHING, Item, may_read
from shared.hub.references import REFERRED, is_made_by_cluster, references
from shared.hub.resources import PLACEMENTS
from shared.hub.selecting import nothing, of_kinds
from shared.kube.apis import UnknownKind
from shared.kube.client import Bounds
from shared.kube.errors import ApiError
from shared.model.declared import DeclaredKind
from shared.model.refs import Head, PlacementRef, TargetRef
from shared.model.request import Cause, HeadEntry, PreviousChoice, Question, Request, Requester
from shared.model.target import Target

Object = dict[str, Any]
MOST_READ = Bounds(objects=1000, bytes=16 << 20)  # of one kind in one namespace


class Unplaceable(Exception):
    """A Placement that cannot be placed as it is; the message says why. It is answered as it would be decided."""


class Gathering:
    """Makes requests as the controller would, see `services.controller`; in the name of who asks.

    `targets` are followed from when they are first asked for: by who changes objects for some targets alone.
    """

    def __init__(
        self,
        hub: Hub,
        access: Access,
        writer: Writer,
        heads: View[HeadEntry],
        kinds: View[DeclaredKind],
        targets: Callable[[], Awaitable[View[Target]]],
        clock: Callable[[], float],
    ) -> None:
        self._hub = hub
        self._access = access
        self._writer = writer
        self._heads = heads
        self._kinds = kinds
        self._targets = targets
        self._clock = clock
        self._overrides = OverridesInForce(hub, access, clock)

    async def request(self, asked: ToDecide, requester: Requester, question: Question) -> Request:
        """The request for what is asked about. Raises RequestRejected, and KubeError."""
        ref = asked.placement
        manifest, decided = asked.manifest, PlacementDecisionStatus()
        if manifest is None:
            manifest = await self._changed(asked, requester)
            found = await read_decision(self._hub.at(ref.workspace), ref.name, ref.namespace)
            decided = found.status if found is not None else decided
        else:
            await self._writer.check(requester, ref, PLACEMENTS, ref.name, "create", always=True)
        try:
            placement = decode_placement(manifest)
        except InvalidObject as error:
            raise RequestRejected("InvalidRequest", f"the Placement: {error}") from None
        known = self._heads.get(ref.key)
        wanted, problem = CountedDemand(), ""
        try:
            wanted = await self._demand(placement, ref, asked.objects, requester)
        except Unplaceable as why:
            problem = str(why)
        return Request(
            placement=ref,
            head=Head(
                uid=placement.metadata.uid,
                generation=placement.metadata.generation,
                attempt=known.head.attempt if known is not None else decided.attempt,
            ),
            cause=Cause(code="Asked"),
            spec=msgspec.structs.replace(placement.spec, manifests=()),
            labels=placement.metadata.labels,
            requester=requester,
            workload=wanted.counted.workload,
            variants=wanted.counted.variants,
            input_digest=wanted.digest,
            previous=tuple(
                PreviousChoice(target=TargetRef.of(each.target).id, replicas=each.replicas) for each in decided.selected
            ),
            leaving=known.leaving if known is not None and decided.selected else (),
            moved_at=moved_at(decided.history),
            requested_at=self._clock(),
            question=question,
            operator_overrides=await self._overrides.of(ref, placement.metadata.uid, placement.metadata.labels),
            error=problem or wanted.counted.error,
        )

    async def _changed(self, asked: ToDecide, requester: Requester) -> Object:
        """The manifest of a Placement that is there, with the changes."""
        ref = asked.placement
        await self._writer.check(requester, ref, PLACEMENTS, ref.name, "get", "patch", always=True)
        found = await self._writer.client(ref.workspace, requester).get(PLACEMENTS, ref.name, ref.namespace)
        kept = ("namespace", "name", "uid", "generation", "labels")
        metadata = {name: found["metadata"][name] for name in kept if name in found["metadata"]}
        spec = core.merged(found.get("spec"), asked.changes)
        return {"apiVersion": API_VERSION, "kind": "Placement", "metadata": metadata, "spec": spec}

    async def _demand(
        self, placement: Placement, ref: PlacementRef, given: Sequence[Object], requester: Requester
    ) -> CountedDemand:
        if problems := validate_placement(placement):
            raise Unplaceable("; ".join(problems))
        spec = placement.spec
        readable = await self._access.may(requester, ref.workspace, Action("get", EVERYTHING, ref.namespace))
        if readable != "Allowed":
            await self._check_readable(ref, requester, await self._items(ref, spec.workload))
        objects: list[Object] = []
        for index, selector in enumerate(spec.workload):
            where, each = f"spec.workload[{index}]", of_kinds(selector)
            selected = [obj for one in each for obj in _matching(one, given)]
            for one in () if selected else each:
                selected += await self._on_hub(ref, one, requester, where, optional=selector.all)
            if not selected:
                raise Unplaceable(nothing(selector, where, ref.namespace))
            objects += selected
        objects += [dict(each) for each in spec.manifests]
        if readable != "Allowed" and spec.follow_references:
            along = {each for obj in objects for each in references(obj)}
            await self._check_readable(ref, requester, [Item(REFERRED[each.kind], each.name) for each in along])
        declared = [entry.value for entry in self._kinds.entries.values()]
        kinds = kinds_of(ref.workspace, declared) if declared else BUILT_IN
        targets: Iterable[Target] = ()
        if spec.overrides:
            targets = [entry.value for entry in (await self._targets()).entries.values()]
        return demand(spec, ref, objects, targets, kinds)

    async def _items(self, ref: PlacementRef, selectors: Iterable[WorkloadSelector]) -> list[Item]:
        """What the selectors ask for, in so far as the workspace serves it."""
        items = []
        for one in (each for selector in selectors for each in of_kinds(selector)):
            with suppress(UnknownKind):  # which is said where it is read
                resource = await self._writer.mapper(ref.workspace).resource(one.api_version, one.kind)
                items.append(Item(resource, one.name or ""))
        return items

    async def _check_readable(self, ref: PlacementRef, requester: Requester, items: Iterable[Item]) -> None:
        answer = await may_read(self._access, requester, ref.workspace, ref.namespace, items)
        if answer.permission == "Unknown":
            raise RequestRejected("Unavailable", answer.sentence)
        if answer.permission != "Allowed":
            raise Unplaceable(answer.sentence)

    async def _on_hub(
        self, ref: PlacementRef, selector: WorkloadSelector, requester: Requester, where: str, *, optional: bool
    ) -> list[Object]:
        """What a selector finds in the workspace; nothing of an `optional` kind that is not served there."""
        try:
            resource = await self._writer.mapper(ref.workspace).resource(selector.api_version, selector.kind)
        except UnknownKind as error:
            if optional:
                return []
            raise Unplaceable(f"{where}: workspace {ref.workspace or 'hub'} has no such kind: {error}") from None
        client = self._writer.client(ref.workspace, requester)
        namespace = ref.namespace if resource.namespaced else ""
        found: list[Object]
        if selector.name is not None:
            try:
                found = [await client.get(resource, selector.name, namespace)]
            except ApiError as error:
                if not error.absent(selector.name):
                    raise
                found = []
        else:
            found = (await client.list(resource, namespace, bounds=MOST_READ)).items
        typed = [{**each, "apiVersion": selector.api_version, "kind": selector.kind} for each in found]
        return _matching(selector, typed)


def _matching(selector: WorkloadSelector, objects: Iterable[Object]) -> list[Object]:
    """The objects that a selector means, of those of its namespace and such as have none."""

    def meant(obj: Mapping[str, Any]) -> bool:
        metadata = obj["metadata"]
        if (obj["apiVersion"], obj["kind"]) != (selector.api_version, selector.kind):
            return False
        if selector.name is not None:
            return bool(metadata["name"] == selector.name)
        return not is_made_by_cluster(obj) and matches(selector.label_selector, metadata.get("labels") or {})

    return [obj for obj in objects if meant(obj)]
