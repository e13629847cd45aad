"""Applies, prunes and releases in a target cluster: one ApplySet per Placement.

Its parent (parent.py) is written before any member and names every kind that there may be members of, so that whatever
happens in between, all members are found again.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import TypeVar

from services.binding.core import (
    Identity,
    Member,
    Object,
    Wanted,
    identity,
    rank,
    reference,
)
from services.binding.errors import another, managers
from services.binding.target import claims
from services.binding.target.absence import unless_absent
from services.binding.target.adoption import check, is_adopted, may_force, memory, release, restored
from services.binding.target.lookup import MANY, absent
from services.binding.target.parent import GroupKind, kinds_of, namespaces_of, uid_of
from services.binding.target.parents import Parents
from services.binding.target.way import Way
from services.binding.trouble import Trouble, lasting, passing
from shared.api import BoundObject, ManifestReference, ObjectReference
from shared.hub.names import (
    ADOPTED_ANNOTATION,
    APPLIER,
    MANAGED_LABEL,
    OWNER_ANNOTATION,
    applyset_of,
    owner_of,
    parse_owner,
)
from shared.hub.references import pod_template
from shared.hub.terms import namespace_in
from shared.kube.apis import UnknownKind
from shared.kube.applyset import APPLYSET_PART_OF
from shared.kube.errors import ApiError
from shared.kube.objects import owned_fields
from shared.kube.resources import CONFIGMAPS, Resource
from shared.model.refs import PlacementRef
from shared.model.target import Target

_IN_FLIGHT = 8  # requests at once in one target for one placement
_RACES = 10  # versions that an object may go through between being read and being deleted

T = TypeVar("T")

_UNMARKED = dict.fromkeys((OWNER_ANNOTATION, ADOPTED_ANNOTATION))

Heirs = Callable[[], Awaitable[Mapping[Identity, PlacementRef]]]
"""Which other Placement wants an object that this one leaves, in the same target."""


class ApplySet:
    """What one Placement, by name and uid, has in one target. Methods raise Trouble and what the client raises."""

    def __init__(self, way: Way, target: Target, ref: PlacementRef, uid: str) -> None:
        """`target` is as the inventory has it: its terms, and whose its namespaces are."""
        self._client = way.client
        self._mapper = way.mapper
        self._held = way.held
        self._claims = target.claims
        self._parents = Parents(way.client, ref, uid)
        self._ref = ref
        self._uid = uid
        self._terms = target.terms
        self._namespace = namespace_in(target.terms, ref.workspace, ref.namespace)
        self._room = asyncio.Semaphore(_IN_FLIGHT)

    async def apply(
        self,
        wanted: Wanted,
        *,
        unchanged: Collection[Identity],
        recorded: Mapping[Identity, BoundObject],
        drifted: Collection[Identity],
        force: bool,
        heirs: Heirs,
        first: bool = False,
    ) -> list[BoundObject]:
        """Make the target hold what is wanted and nothing else of this Placement; the objects that were applied.

        Objects that are `unchanged` are left alone if the set is there; of those that are not `recorded` as ours, or
        have `drifted`, it is looked at first whose they are. `first`: most likely there is no set yet.
        """
        kinds = {(member.ref.api_version, member.ref.kind) for member in wanted.members}
        resources = {kind: await self._resource(kind) for kind in kinds}
        await self._hold_namespace()
        parent = await self._parents.have(kinds, {self._namespace}, first=first)
        before, spaces = kinds_of(parent), namespaces_of(parent)
        if parent is None:
            unchanged = ()
        elif not (kinds <= before and self._namespace in spaces) or uid_of(parent) != self._uid:
            await self._parents.write(before | kinds, spaces | {self._namespace})
        applied: list[BoundObject] = []
        todo = [member for member in wanted.members if identity(member.ref) not in unchanged]
        for _, group in itertools.groupby(todo, key=lambda member: rank(member.ref)):
            stage = list(group)
            known = recorded.keys() - set(drifted)
            new = await self._new((each.ref for each in stage if identity(each.ref) not in known), resources)
            applied += await _all(
                *(
                    self._apply(
                        member,
                        resources[member.ref.api_version, member.ref.kind],
                        recorded.get(identity(member.ref)),
                        known=identity(member.ref) in known,
                        new=identity(member.ref) in new,
                        force=force,
                    )
                    for member in stage
                )
            )
        if parent is not None:
            keep = {identity(member.ref) for member in wanted.members}
            adopted = {each.uid for each in recorded.values() if each.adopted}
            await self._dispose(before, spaces, keep, heirs, adopted, orphan=False)
        if before - kinds or spaces - {self._namespace}:
            await self._parents.write(kinds, {self._namespace})
        return applied

    async def present(self) -> bool:
        """Whether there may be anything of this Placement in the target."""
        return await self._parents.find() is not None

    async def clear(self, heirs: Heirs, *, orphan: bool, adopted: Collection[str] = ()) -> None:
        """Take everything of this Placement out of the target; with `orphan`, leave it there without our marks.

        Objects with the uids `adopted` are known to have been there before, also where they do not say so.
        """
        parent = await self._parents.find()
        if parent is None:
            return
        await self._dispose(kinds_of(parent), namespaces_of(parent), (), heirs, adopted, orphan=orphan)
        await self._parents.end()

    async def _new(self, refs: Iterable[ManifestReference], resources: Mapping[GroupKind, Resource]) -> set[Identity]:
        """Those objects that are not there, as far as it takes one request to know for many."""
        kinds: dict[GroupKind, list[ManifestReference]] = {}
        for ref in refs:
            kinds.setdefault((ref.api_version, ref.kind), []).append(ref)
        found: set[Identity] = set()
        for kind, asked in kinds.items():
            if len(asked) >= MANY:
                names = [ref.name for ref in asked]
                missing = await absent(self._client, resources[kind], names, self._namespace)
                found |= {identity(ref) for ref in asked if ref.name in missing}
        return found

    async def _apply(
        self, member: Member, resource: Resource, recorded: BoundObject | None, *, known: bool, new: bool, force: bool
    ) -> BoundObject:
        async with self._room:
            found = await self._as_known(member, resource, recorded, force) if recorded and known else None
            if found is None:
                found = await self._as_new(member, resource, recorded, new=new, force=force)
            if recorded and recorded.adopted and recorded.uid == found["metadata"]["uid"] and not is_adopted(found):
                found = await self._remember(found, member.ref, resource)  # somebody took the memory of it off
        ref = member.ref
        return BoundObject(
            ref=ObjectReference(api_version=ref.api_version, kind=ref.kind, name=ref.name, namespace=ref.namespace),
            uid=str(found["metadata"].get("uid", "")),
            owned_fields=owned_fields(found, APPLIER),
            adopted=is_adopted(found),
        )

    async def _as_known(self, member: Member, resource: Resource, recorded: BoundObject, force: bool) -> Object | None:
        """Apply what was applied before; None where it is not the same object any more."""
        metadata = {**member.object["metadata"], "uid": recorded.uid}
        try:
            return await self._applied({**member.object, "metadata": metadata}, resource, force, recorded.adopted)
        except ApiError as error:
            if error.not_found or another(error):
                return None
            raise

    async def _as_new(
        self, member: Member, resource: Resource, recorded: BoundObject | None, *, new: bool, force: bool
    ) -> Object:
        """Apply what may be there without us, or not be there, or is not for certain, being `new`."""
        adopted = False if new else await self._check_owner(member, resource, recorded)
        try:
            return await self._applied(member.object, resource, force, adopted)
        except ApiError as error:
            if not error.not_found:
                raise
        # The namespace or the API was there when last looked at.
        await self._hold_namespace(anew=True)
        await self._mapper.refresh()
        resource = await self._resource((resource.api_version, resource.kind))
        return await self._applied(member.object, resource, force, adopted)

    async def _applied(self, obj: Object, resource: Resource, force: bool, adopted: bool) -> Object:
        force = force and (not adopted or may_force(self._terms))
        try:
            return await self._client.apply(resource, obj, field_manager=APPLIER, force=force)
        except ApiError as error:
            if not error.conflict or managers(error) != {APPLIER}:
                raise
        # Only marks that we set ourselves, when an object passed from one Placement to another.
        return await self._client.apply(resource, obj, field_manager=APPLIER, force=True)

    async def _check_owner(self, member: Member, resource: Resource, recorded: BoundObject | None) -> bool:
        """Whether the object was in the target before; from now on it says so itself.

        Raises Trouble if it is not for us to take over, or belongs to a Placement that may not share it: all Placements
        act under one field manager, so that the API server cannot tell them apart. What several workloads of a
        workspace refer to is shared; a workload belongs to one Placement.
        """
        ref = member.ref
        found = await unless_absent(self._client.get(resource, ref.name, ref.namespace))
        if found is None:
            return False
        owner = str((found["metadata"].get("annotations") or {}).get(OWNER_ANNOTATION, ""))
        if owner:
            self._check_sharing(ref, found, owner)
            return is_adopted(found)
        if recorded is not None and recorded.uid == found["metadata"]["uid"]:  # somebody took our marks off
            return recorded.adopted
        check(found, member.object, ref, self._terms)
        await self._remember(found, ref, resource)
        return True

    def _check_sharing(self, ref: ManifestReference, found: Object, owner: str) -> None:
        if owner == owner_of(self._ref):
            return
        other = parse_owner(owner)
        ours = other is not None and other.workspace == self._ref.workspace
        if other is not None and ours and other.namespace == self._ref.namespace and pod_template(found) is None:
            return
        whose = f"Placement {other.namespace}/{other.name}" if other and ours else "a Placement of another workspace"
        said = f"{ref.kind} {ref.namespace}/{ref.name} in the target belongs to {whose}"
        raise Trouble("ConflictFree", "OwnedByOther", said, lasting=True)

    async def _remember(self, found: Object, ref: ManifestReference, resource: Resource) -> Object:
        """Write onto an object how it is, if it still is so. By an update, and not by applying it, so that what is
        applied from then on need not repeat it.
        """
        metadata = found["metadata"]
        seen = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        mark = {"annotations": {ADOPTED_ANNOTATION: memory(found, ref)}}
        patch = {"metadata": {**seen, **mark}}
        try:
            return await self._client.merge_patch(resource, ref.name, patch, ref.namespace, field_manager=APPLIER)
        except ApiError as error:
            if not error.conflict:
                raise
        raise passing("Busy", f"{ref.kind} {ref.namespace}/{ref.name} is just being changed by others")

    async def _dispose(
        self,
        kinds: Iterable[GroupKind],
        namespaces: Iterable[str],
        keep: Collection[Identity],
        heirs: Heirs,
        adopted: Collection[str],
        *,
        orphan: bool,
    ) -> None:
        places = itertools.product(sorted(kinds), sorted(namespaces))
        members = [
            (resource, obj)
            for resource, found in await _all(*(self._members(kind, namespace) for kind, namespace in places))
            for obj in found
            if identity(reference(obj)) not in keep
        ]
        if not members:
            return
        others = {} if orphan else await heirs()
        members.sort(key=lambda pair: rank(reference(pair[1])), reverse=True)  # workloads first, what they need last
        for _, stage in itertools.groupby(members, key=lambda pair: rank(reference(pair[1]))):
            await _all(
                *(
                    self._let_go(resource, obj, others.get(identity(reference(obj))), adopted, orphan=orphan)
                    for resource, obj in stage
                )
            )

    async def _members(self, kind: GroupKind, namespace: str) -> tuple[Resource, list[Object]]:
        try:
            resource = await self._mapper.resource(*kind)
            async with self._room:
                page = await self._client.list(
                    resource, namespace, label_selector=f"{APPLYSET_PART_OF}={applyset_of(self._ref)}"
                )
        except UnknownKind:
            return CONFIGMAPS, []  # the API is gone, and its objects with it
        return resource, [{"apiVersion": kind[0], "kind": kind[1], **obj} for obj in page.items]

    async def _let_go(
        self, resource: Resource, obj: Object, heir: PlacementRef | None, adopted: Collection[str], *, orphan: bool
    ) -> None:
        async with self._room:
            if orphan or heir is not None:
                await unless_absent(self._mark(resource, obj, heir))
            else:
                await unless_absent(self._end(resource, obj, adopted))

    async def _mark(self, resource: Resource, obj: Object, heir: PlacementRef | None) -> None:
        """Hand an object over to another Placement, or take our marks off."""
        marks = {
            "labels": {
                APPLYSET_PART_OF: applyset_of(heir) if heir else None,
                MANAGED_LABEL: "true" if heir else None,
            },
            "annotations": {OWNER_ANNOTATION: owner_of(heir)} if heir else _UNMARKED,
        }
        metadata = obj["metadata"]
        await self._client.merge_patch(
            resource, metadata["name"], {"metadata": marks}, metadata.get("namespace", ""), field_manager=APPLIER
        )

    async def _end(self, resource: Resource, obj: Object, adopted: Collection[str]) -> None:
        """Delete an object that we made, or give back one that was there before, unless it passed to another set since
        it was read: it must be as we saw it.
        """
        name, namespace = obj["metadata"]["name"], obj["metadata"].get("namespace", "")
        for _ in range(_RACES):
            metadata = obj["metadata"]
            if (metadata.get("labels") or {}).get(APPLYSET_PART_OF) != applyset_of(self._ref):
                return
            try:
                if is_adopted(obj) or metadata["uid"] in adopted:
                    await self._give_back(resource, obj)
                else:
                    seen = {"uid": metadata["uid"], "resource_version": metadata["resourceVersion"]}
                    await self._client.delete(resource, name, namespace, propagation="Background", **seen)
            except ApiError as error:
                if not error.conflict:
                    raise
            else:
                return
            found = await self._client.get(resource, name, namespace)
            obj = {"apiVersion": resource.api_version, "kind": resource.kind, **found}
        raise passing("Busy", f"{resource.kind} {namespace}/{name} changes too fast to be deleted safely")

    async def _give_back(self, resource: Resource, obj: Object) -> None:
        """Give back what was there before: the fields that we own as they were then, and nobody's from now on."""
        before = restored(obj)
        if before is not None:
            try:
                obj = await self._client.apply(resource, before, field_manager=APPLIER, force=True)
            except ApiError as error:
                if not error.invalid:
                    raise  # what cannot be put back stays as it is
        metadata = obj["metadata"]
        await self._client.merge_patch(
            resource, metadata["name"], release(obj), metadata.get("namespace", ""), field_manager=APPLIER
        )

    async def _resource(self, kind: GroupKind) -> Resource:
        resource = await self._mapper.resource(*kind)
        if not resource.namespaced:
            raise lasting("ClusterScoped", f"{kind[1]} is cluster-scoped: only objects in namespaces are placed")
        return resource

    async def _hold_namespace(self, *, anew: bool = False) -> None:
        workspace = self._ref.workspace
        known = self._claims.get(self._namespace) == workspace or self._held.has(self._namespace, workspace)
        if anew or not known:
            await claims.hold(self._client, self._namespace, workspace)
            self._held.note(self._namespace, workspace)


async def _all(*work: Awaitable[T]) -> list[T]:
    """Do all of it at once, and wait for all of it also where some of it fails: nothing may go on behind our back."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results  # type: ignore[return-value]  # there are no exceptions among them
