"""Objects that a Placement selects in its workspace, from the live caches."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from services.controller.core.digest import above
from services.controller.counting import Counted, Places, count, counts_by_content, occurring
from services.controller.workload import Selected, select
from services.controller.workspace import SYNC_TIMEOUT, Unreadable, WorkspaceWatch
from shared.aio.lru import Lru
from shared.api import Placement, PlacementSpec, WorkloadSelector, matches, validate_placement
from shared.broker.bus import Retry
from shared.hub.access import Access
from shared.hub.reading import Item, may_read
from shared.hub.references import REFERRED
from shared.hub.rendering import input_digest
from shared.hub.requester import requester_of
from shared.hub.retry import MUCH_LATER
from shared.kube.apis import UnknownKind
from shared.model.refs import PlacementRef
from shared.model.request import WorkloadObject
from shared.model.target import Target
from shared.process.audit import refused

_REMEMBERED = 1000  # placements whose overrides or manifests are counted
_CHANGED = 0.1  # seconds until an object is looked at again that the cache is behind of


class Selection(msgspec.Struct, frozen=True):
    """A placement's selection, counted; the versions of what goes along with it; and a digest of what is applied."""

    counted: Counted
    along: tuple[str, ...] = ()
    digest: str = ""


class Selections:
    """Selects and counts what placements want. What overrides make of it is remembered, for some of them."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._told: Lru[PlacementRef, str] = Lru(_REMEMBERED)  # the last refusal of each, so that it is told once
        self._counted: Lru[tuple[PlacementRef, str, tuple[Places, ...]], Counted] = Lru(_REMEMBERED)

    async def of(
        self, ref: PlacementRef, watch: WorkspaceWatch, placement: Placement, targets: Iterable[Target]
    ) -> Selection:
        """The selection of a placement; or one sentence that says why it cannot be placed as it is.

        Its overrides are counted for the `targets` that there are. Raises Retry where something is not read yet.
        """
        problems = validate_placement(placement)
        if problems:
            return Selection(Counted(error="; ".join(problems)))
        if refusal := await self._refusal(ref, placement, await _asked_for(watch, placement.spec)):
            return Selection(Counted(error=refusal))
        found: list[Selected] = []
        for index, selector in enumerate(placement.spec.workload):
            selected = await _select(ref, watch, selector, f"spec.workload[{index}]")
            if isinstance(selected, str):
                return Selection(Counted(error=selected))
            found += selected
        spec = placement.spec
        try:
            manifests = [select(manifest, ref.namespace) for manifest in spec.manifests]
        except ValueError as error:
            return Selection(Counted(error=f"spec.manifests: {error}"))
        along = {each for selected in (*found, *manifests) for each in selected.references}
        items = [Item(REFERRED[each.kind], each.name) for each in along if spec.follow_references]
        if refusal := await self._refusal(ref, placement, items):
            return Selection(Counted(error=refusal))
        digest = input_digest(spec, [each.summary.hash for each in (*found, *manifests)])
        counted = await self._count(ref, watch, placement, found, digest, targets)
        return Selection(counted, await _along(ref, watch, placement, [*found, *manifests]), digest)

    async def _refusal(self, ref: PlacementRef, placement: Placement, items: Iterable[Item]) -> str:
        """One sentence about what the requester may not read of what would be placed in its name; empty if it may read
        all of it. Raises Retry where nobody can say. Without a requester, no target can be used anyway.
        """
        requester = requester_of(placement)
        answer = await may_read(self._access, requester, ref.workspace, ref.namespace, items)
        if answer.permission == "Unknown":
            raise Retry(MUCH_LATER, answer.sentence)
        if answer.permission != "Denied":
            return ""
        if self._told.get(ref) != answer.sentence:
            self._told.put(ref, answer.sentence)
            who = requester.username if requester else ""
            refused("NotReadable", requester=who, placement=str(ref), stage="controller", said=answer.sentence)
        return answer.sentence

    async def _count(
        self,
        ref: PlacementRef,
        watch: WorkspaceWatch,
        placement: Placement,
        found: Sequence[Selected],
        digest: str,
        targets: Iterable[Target],
    ) -> Counted:
        spec = placement.spec
        if not counts_by_content(spec):
            unique = {each.summary.ref: each.summary for each in found}
            return Counted(tuple(unique[name] for name in sorted(unique)))
        sets = tuple(occurring(spec.overrides, targets, above(ref.workspace))) if spec.overrides else ()
        key = (ref, digest, sets)
        counted = self._counted.get(key)
        if counted is None:
            objects = [await _content(ref, watch, each.summary) for each in found]
            counted = count(spec, ref.namespace, [*objects, *spec.manifests], sets)
            if counted.error:
                requester = requester_of(placement)
                who = requester.username if requester else ""
                refused("NotCountable", requester=who, placement=str(ref), why=counted.error)
            self._counted.put(key, counted)
        return counted


async def _asked_for(watch: WorkspaceWatch, spec: PlacementSpec) -> list[Item]:
    """All that the selectors ask for, in so far as the workspace serves it. What labels select may be any object."""
    items = []
    for selector in spec.workload:
        with contextlib.suppress(UnknownKind):  # which is said where it is selected
            items.append(Item(await watch.mapper.resource(selector.api_version, selector.kind), selector.name or ""))
    return items


async def _select(
    ref: PlacementRef, watch: WorkspaceWatch, selector: WorkloadSelector, where: str
) -> list[Selected] | str:
    """The objects that one selector means, or one sentence that says why there are none. Raises Retry."""
    try:
        informer = await watch.workload(selector.api_version, selector.kind)
    except UnknownKind as error:
        return f"{where}: workspace {ref.workspace or 'hub'} has no such kind: {error}"
    except Unreadable as error:
        return f"{where}: {selector.kind} objects cannot be read: {error}"
    except TimeoutError:
        raise Retry(5.0, f"{selector.kind} objects of {ref.workspace} are not read yet") from None
    selected = _selected(selector, ref.namespace, informer.objects)
    if selected:
        return selected
    return f"{where} selects nothing: no {selector.kind} {_wanted(selector)} in namespace {ref.namespace}"


async def _content(ref: PlacementRef, watch: WorkspaceWatch, known: WorkloadObject) -> dict[str, Any]:
    """A selected object itself, as the cache knows it. Raises Retry where the workspace has it otherwise by now."""
    content = await watch.content(known)
    if content is None:
        raise Retry(_CHANGED, f"{known.ref} of {ref} changes just now")
    return content


async def _along(
    ref: PlacementRef, watch: WorkspaceWatch, placement: Placement, workload: Sequence[Selected]
) -> tuple[str, ...]:
    """The versions of what goes along with a workload by reference."""
    if not placement.spec.follow_references:
        watch.referred.forget(ref)
        return ()
    try:
        return await watch.referred.versions(ref, workload, SYNC_TIMEOUT)
    except TimeoutError:
        raise Retry(5.0, f"what {ref} refers to cannot be read") from None


def _selected(
    selector: WorkloadSelector, namespace: str, objects: Mapping[tuple[str, str], Selected]
) -> list[Selected]:
    """The objects that a selector of a placement means: in its own namespace, or a cluster-scoped one by name."""
    if selector.name is not None:
        named = (objects.get((where, selector.name)) for where in (namespace, ""))
        return [each for each in named if each is not None]
    return [
        each
        for key, each in objects.items()
        if key[0] == namespace and matches(selector.label_selector, each.summary.labels)
    ]


def _wanted(selector: WorkloadSelector) -> str:
    if selector.name is not None:
        return f"named {selector.name}"
    labels: Any = selector.label_selector
    pairs = ", ".join(f"{key}={value}" for key, value in sorted(labels.match_labels.items())) if labels else ""
    return f"with labels {pairs}" if pairs else "that its label selector matches"
