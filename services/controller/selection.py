"""Objects that a Placement selects in its workspace, from the live caches."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from services.controller.core.observation import KnownDecision
from services.controller.core.unread import Unread, sentence, staying, still_counted
from services.controller.workspace import SYNC_TIMEOUT, Unreadable, WorkspaceWatch
from shared.aio.lru import Lru
from shared.api import Placement, PlacementSpec, Targets, WorkloadSelector, matches, validate_placement
from shared.broker.bus import Retry
from shared.hub.access import Access
from shared.hub.counting import Counted, Places, count, counts_by_content, occurring
from shared.hub.declared import digest_of
from shared.hub.reading import Item, may_read
from shared.hub.references import REFERRED, is_in_every_namespace
from shared.hub.rendering import input_digest
from shared.hub.requester import requester_of
from shared.hub.retry import MUCH_LATER
from shared.hub.selecting import nothing, of_kinds
from shared.hub.workload import Selected, select
from shared.kube.apis import UnknownKind
from shared.model.refs import PlacementRef, above
from shared.model.request import WorkloadObject
from shared.model.target import Target
from shared.process.audit import refused

_REMEMBERED = 1000  # placements whose overrides or manifests are counted
_KNOWN = 10_000  # placements of which it is remembered what was counted
_STAYS = "what runs is left as it is, until the Placement is deleted or selects something"
_CHANGED = 0.1  # seconds until an object is looked at again that the cache is behind of


class Selection(msgspec.Struct, frozen=True):
    """A placement's selection, counted; the versions of what goes along with it; and a digest of what is applied."""

    counted: Counted
    along: tuple[str, ...] = ()
    digest: str = ""
    unread: str = ""  # which part of a decided workload cannot be read any more, and why
    kept: tuple[WorkloadObject, ...] = ()  # what counts of that part
    targets: Targets | None = None  # where it stays meanwhile


class Selections:
    """Selects and counts what placements want. What overrides make of it is remembered, for some of them."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._told: Lru[PlacementRef, str] = Lru(_REMEMBERED)  # the last refusal of each, so that it is told once
        self._decided: Lru[PlacementRef, tuple[str, tuple[WorkloadObject, ...]]] = Lru(_KNOWN)
        self._counted: Lru[tuple[PlacementRef, str, tuple[Places, ...]], Counted] = Lru(_REMEMBERED)

    async def of(
        self,
        ref: PlacementRef,
        watch: WorkspaceWatch,
        placement: Placement,
        targets: Iterable[Target],
        kept: tuple[WorkloadObject, ...] = (),
    ) -> Selection:
        """The selection of a placement; or one sentence that says why it cannot be placed as it is.

        Of one that was decided before, a part that is gone, or cannot be read, is no reason to leave the rest as it is;
        that all of it is, is. What cannot be read counts as it was decided: `kept` is what did so at the newest head.
        Overrides are counted for the `targets` that there are. Raises Retry where something is not read yet.
        """
        problems = validate_placement(placement)
        if problems:
            return Selection(Counted(error="; ".join(problems)))
        spec, decided = placement.spec, watch.decision(ref)
        refused = await self._refusal(ref, placement, await _asked_for(watch, spec.workload))
        if refused and decided is None:
            return Selection(Counted(error=refused))
        found: list[Selected] = []
        lacking: list[str] = []
        unread: list[Unread] = []
        for index, selector in enumerate(spec.workload):
            where = f"spec.workload[{index}]"
            selected = await self._selected(ref, watch, placement, selector, where, refused=bool(refused))
            if isinstance(selected, str):
                return Selection(Counted(error=f"{selected}; {_STAYS}" if decided else selected))
            lacking += () if selected else (nothing(selector, where, ref.namespace),)
            unread += (each for each in selected if isinstance(each, Unread))
            found += (each for each in selected if isinstance(each, Selected))
        if unread and decided is None:
            return Selection(Counted(error=unread[0].why))
        if unread and decided is not None:
            targets = list(targets)
            part = self._kept(ref, watch, spec, decided, kept, unread) if found or spec.manifests else None
            stays = staying(spec, [each.target for each in decided.selected], targets)
            if part is None or stays is None:
                return Selection(Counted(error=f"{unread[0].why}; {_STAYS}"), unread=sentence(unread), kept=kept)
            rest = await self._rest(ref, watch, placement, found, targets)
            return rest if rest.counted.error else _with_part(rest, sentence(unread), part, stays)
        if lacking and decided is None:
            return Selection(Counted(error=lacking[0]))
        if lacking and not (found or spec.manifests):
            return Selection(Counted(error=f"{lacking[0]}; {_STAYS}"))
        return await self._rest(ref, watch, placement, found, targets, whole=True)

    async def _selected(
        self,
        ref: PlacementRef,
        watch: WorkspaceWatch,
        placement: Placement,
        selector: WorkloadSelector,
        where: str,
        *,
        refused: bool,
    ) -> list[Selected | Unread] | str:
        """What a selector means, with what of it nobody knows; a sentence where it means none. Where it takes all, what
        is not served is nothing, unless some of it is in targets. Raises Retry.
        """
        found: list[Selected | Unread] = []
        for one in of_kinds(selector):
            why = await self._refusal(ref, placement, await _asked_for(watch, [one])) if refused else ""
            selected = Unread(one, why) if why else await _select(ref, watch, one, where)
            if isinstance(selected, str):
                return selected
            if not isinstance(selected, Unread):
                found += selected
            elif not (selector.all and selected.unserved and selected.kind not in watch.bound_kinds(ref)):
                found.append(selected)
        return found

    def _kept(
        self,
        ref: PlacementRef,
        watch: WorkspaceWatch,
        spec: PlacementSpec,
        decided: KnownDecision,
        kept: tuple[WorkloadObject, ...],
        unread: Sequence[Unread],
    ) -> tuple[WorkloadObject, ...] | None:
        """What counts of the part that cannot be read: as at the newest head, or as it was when that was decided."""
        digest, last = self._decided.get(ref) or ("", ())
        remembered = (*(last if digest and digest == decided.input_digest else ()), *kept)
        return still_counted(spec, unread, remembered, watch.bound_kinds(ref), watch.kinds)

    async def _rest(
        self,
        ref: PlacementRef,
        watch: WorkspaceWatch,
        placement: Placement,
        found: list[Selected],
        targets: Iterable[Target],
        *,
        whole: bool = False,
    ) -> Selection:
        """The selection of what was found, and the manifests; where that is the `whole` workload, it is remembered."""
        spec = placement.spec
        try:
            manifests = [select(manifest, ref.namespace, watch.kinds) for manifest in spec.manifests]
        except ValueError as error:
            return Selection(Counted(error=f"spec.manifests: {error}"))
        along = {each for selected in (*found, *manifests) for each in selected.references}
        items = [Item(REFERRED[each.kind], each.name) for each in along if spec.follow_references]
        if refusal := await self._refusal(ref, placement, items):
            return Selection(Counted(error=refusal))
        summaries = [each.summary for each in (*found, *manifests)]
        declared = digest_of(watch.kinds, {(each.api_version, each.kind) for each in summaries})
        digest = input_digest(spec, [each.hash for each in summaries], declared)
        counted = await self._count(ref, watch, placement, found, digest, targets)
        if whole:
            self._decided.put(ref, (digest, tuple(each.summary for each in found if each.pod_labels)))
        runs = tuple(sorted({f"{each.summary.ref}#{each.run}" for each in found if each.run}))
        return Selection(counted, (*await _along(ref, watch, placement, [*found, *manifests]), *runs), digest)

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
        unique = {each.summary.ref: each.summary for each in found}
        if not counts_by_content(spec, {(each.api_version, each.kind) for each in unique.values()}):
            return Counted(tuple(unique[name] for name in sorted(unique)))
        sets = tuple(occurring(spec.overrides, targets, above(ref.workspace))) if spec.overrides else ()
        key = (ref, digest, sets)
        counted = self._counted.get(key)
        if counted is None:
            objects = [await _content(ref, watch, each) for each in unique.values()]
            counted = count(spec, ref.namespace, [*objects, *spec.manifests], sets, watch.kinds)
            if counted.error:
                requester = requester_of(placement)
                who = requester.username if requester else ""
                refused("NotCountable", requester=who, placement=str(ref), why=counted.error)
            self._counted.put(key, counted)
        return counted


def _with_part(rest: Selection, unread: str, part: tuple[WorkloadObject, ...], stays: Targets) -> Selection:
    """The selection of the rest, with what counts of the part that cannot be read."""
    there = {each.ref: each for each in (*part, *rest.counted.workload)}
    counted = msgspec.structs.replace(rest.counted, workload=tuple(there[name] for name in sorted(there)))
    along = (*rest.along, f"unread {unread}")  # so that it is decided anew when that changes
    return Selection(counted, along, rest.digest, unread, part, stays)


async def _asked_for(watch: WorkspaceWatch, selectors: Iterable[WorkloadSelector]) -> list[Item]:
    """All that the selectors ask for, in so far as the workspace serves it. What labels select may be any object."""
    items = []
    for one in (each for selector in selectors for each in of_kinds(selector)):
        with contextlib.suppress(UnknownKind):  # which is said where it is selected
            items.append(Item(await watch.mapper.resource(one.api_version, one.kind), one.name or ""))
    return items


async def _select(
    ref: PlacementRef, watch: WorkspaceWatch, selector: WorkloadSelector, where: str
) -> list[Selected] | Unread | str:
    """The objects that one selector means, or why nobody knows; a sentence where it means none. Raises Retry."""
    try:
        informer = await watch.workload(selector.api_version, selector.kind)
    except UnknownKind as error:
        said = f"{where}: workspace {ref.workspace or 'hub'} has no such kind: {error}"
        return Unread(selector, said, unserved=True)
    except Unreadable as error:
        return Unread(selector, f"{where}: {selector.kind} objects cannot be read: {error}")
    except TimeoutError:
        raise Retry(5.0, f"{selector.kind} objects of {ref.workspace} are not read yet") from None
    resource = await watch.mapper.resource(selector.api_version, selector.kind)
    if selector.name is None and not resource.namespaced:
        return f"{where}: {selector.kind} objects are in no namespace, and are placed by their names, not by labels"
    return _selected(selector, ref.namespace, informer.objects)


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
        return [each for each in named if each is not None and not is_in_every_namespace(*_named(each))]
    return [
        each
        for key, each in objects.items()
        if key[0] == namespace and not each.made_by_cluster and matches(selector.label_selector, each.summary.labels)
    ]


def _named(selected: Selected) -> tuple[str, str, str]:
    summary = selected.summary
    return summary.api_version, summary.kind, summary.name
