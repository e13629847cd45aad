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
from services.binding.errors import managers
from services.binding.target.parent import GroupKind, kinds_of, parent_of, uid_of
from services.binding.trouble import Trouble, lasting, passing
from shared.api import BoundObject, ObjectReference
from shared.hub.names import (
    APPLIER,
    MANAGED_LABEL,
    OWNER_ANNOTATION,
    SYSTEM_NAMESPACE,
    applyset_name,
    applyset_of,
    owner_of,
    parse_owner,
)
from shared.hub.references import pod_template
from shared.kube.apis import RestMapper, UnknownKind
from shared.kube.applyset import APPLYSET_PART_OF
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.objects import owned_fields
from shared.kube.resources import CONFIGMAPS, NAMESPACES, Resource
from shared.model.refs import PlacementRef

_IN_FLIGHT = 8  # requests at once in one target for one placement
_RACES = 10  # versions that an object may go through between being read and being deleted

T = TypeVar("T")

Heirs = Callable[[], Awaitable[Mapping[Identity, PlacementRef]]]
"""Which other Placement wants an object that this one leaves, in the same target."""


class ApplySet:
    """What one Placement, by name and uid, has in one target. Methods raise Trouble and what the client raises."""

    def __init__(self, client: Client, mapper: RestMapper, ref: PlacementRef, uid: str) -> None:
        self._client = client
        self._mapper = mapper
        self._ref = ref
        self._uid = uid
        self._room = asyncio.Semaphore(_IN_FLIGHT)

    async def apply(
        self, wanted: Wanted, *, unchanged: Collection[Identity], known: Collection[Identity], force: bool, heirs: Heirs
    ) -> list[BoundObject]:
        """Make the target hold what is wanted and nothing else of this Placement; the objects that were applied.

        Objects that are `unchanged` are left alone if the set is there; of those that are not `known` to be ours, it is
        looked at first whose they are.
        """
        parent = await self._parent()
        before = kinds_of(parent)
        kinds = {(member.ref.api_version, member.ref.kind) for member in wanted.members}
        resources = {kind: await self._resource(kind) for kind in kinds}
        if parent is None:
            unchanged = ()
            await _all(self._make_namespace(SYSTEM_NAMESPACE), self._make_namespace(self._ref.namespace))
        if not kinds <= before or uid_of(parent) != self._uid:
            await self._write_parent(before | kinds)
        applied: list[BoundObject] = []
        todo = [member for member in wanted.members if identity(member.ref) not in unchanged]
        for _, stage in itertools.groupby(todo, key=lambda member: rank(member.ref)):
            applied += await _all(
                *(
                    self._apply(
                        member, resources[member.ref.api_version, member.ref.kind], identity(member.ref) in known, force
                    )
                    for member in stage
                )
            )
        if parent is not None:
            await self._dispose(before, {identity(member.ref) for member in wanted.members}, heirs, orphan=False)
        if before - kinds:
            await self._write_parent(kinds)
        return applied

    async def present(self) -> bool:
        """Whether there may be anything of this Placement in the target."""
        return await self._parent() is not None

    async def clear(self, heirs: Heirs, *, orphan: bool) -> None:
        """Take everything of this Placement out of the target; with `orphan`, leave it there without our marks."""
        parent = await self._parent()
        if parent is None:
            return
        await self._dispose(kinds_of(parent), (), heirs, orphan=orphan)
        await _absent(self._client.delete(CONFIGMAPS, applyset_name(self._ref), SYSTEM_NAMESPACE))

    async def _apply(self, member: Member, resource: Resource, known: bool, force: bool) -> BoundObject:
        async with self._room:
            if not known:
                await self._check_owner(member, resource)
            try:
                found = await self._applied(member, resource, force)
            except ApiError as error:
                if not error.not_found:
                    raise
                # The namespace or the API was there when last looked at.
                await self._make_namespace(self._ref.namespace)
                await self._mapper.refresh()
                found = await self._applied(member, await self._resource((resource.api_version, resource.kind)), force)
        ref = member.ref
        return BoundObject(
            ref=ObjectReference(api_version=ref.api_version, kind=ref.kind, name=ref.name, namespace=ref.namespace),
            uid=str(found["metadata"].get("uid", "")),
            owned_fields=owned_fields(found, APPLIER),
        )

    async def _applied(self, member: Member, resource: Resource, force: bool) -> Object:
        try:
            return await self._client.apply(resource, member.object, field_manager=APPLIER, force=force)
        except ApiError as error:
            if not error.conflict or managers(error) != {APPLIER}:
                raise
        # Only marks that we set ourselves, when an object passed from one Placement to another.
        return await self._client.apply(resource, member.object, field_manager=APPLIER, force=True)

    async def _check_owner(self, member: Member, resource: Resource) -> None:
        """Raise Trouble if the object belongs to a Placement that may not share it.

        All Placements act under one field manager, so the API server cannot tell them apart. What several workloads of
        a workspace refer to is shared; a workload belongs to one Placement.
        """
        try:
            found = await self._client.get(resource, member.ref.name, member.ref.namespace)
        except ApiError as error:
            if error.not_found:
                return
            raise
        owner = str((found["metadata"].get("annotations") or {}).get(OWNER_ANNOTATION, ""))
        if not owner or owner == owner_of(self._ref):
            return
        other = parse_owner(owner)
        ours = other is not None and other.workspace == self._ref.workspace
        if other is not None and ours and other.namespace == self._ref.namespace and pod_template(found) is None:
            return
        whose = f"Placement {other.namespace}/{other.name}" if other and ours else "a Placement of another workspace"
        raise Trouble(
            "ConflictFree",
            "OwnedByOther",
            f"{member.ref.kind} {member.ref.namespace}/{member.ref.name} in the target belongs to {whose}",
            lasting=True,
        )

    async def _dispose(
        self, kinds: Iterable[GroupKind], keep: Collection[Identity], heirs: Heirs, *, orphan: bool
    ) -> None:
        members = [
            (resource, obj)
            for resource, found in await _all(*(self._members(kind) for kind in sorted(kinds)))
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
                    self._let_go(resource, obj, others.get(identity(reference(obj))), orphan=orphan)
                    for resource, obj in stage
                )
            )

    async def _members(self, kind: GroupKind) -> tuple[Resource, list[Object]]:
        try:
            resource = await self._mapper.resource(*kind)
            async with self._room:
                page = await self._client.list(
                    resource, self._ref.namespace, label_selector=f"{APPLYSET_PART_OF}={applyset_of(self._ref)}"
                )
        except UnknownKind:
            return CONFIGMAPS, []  # the API is gone, and its objects with it
        return resource, [{"apiVersion": kind[0], "kind": kind[1], **obj} for obj in page.items]

    async def _let_go(self, resource: Resource, obj: Object, heir: PlacementRef | None, *, orphan: bool) -> None:
        async with self._room:
            if orphan or heir is not None:
                await _absent(self._mark(resource, obj, heir))
            else:
                await _absent(self._delete(resource, obj))

    async def _mark(self, resource: Resource, obj: Object, heir: PlacementRef | None) -> None:
        """Hand an object over to another Placement, or take our marks off."""
        marks = {
            "labels": {
                APPLYSET_PART_OF: applyset_of(heir) if heir else None,
                MANAGED_LABEL: "true" if heir else None,
            },
            "annotations": {OWNER_ANNOTATION: owner_of(heir) if heir else None},
        }
        metadata = obj["metadata"]
        await self._client.merge_patch(
            resource, metadata["name"], {"metadata": marks}, metadata.get("namespace", ""), field_manager=APPLIER
        )

    async def _delete(self, resource: Resource, obj: Object) -> None:
        """Delete an object, unless it passed to another set since it was read: it must be as we saw it."""
        name, namespace = obj["metadata"]["name"], obj["metadata"].get("namespace", "")
        for _ in range(_RACES):
            metadata = obj["metadata"]
            if (metadata.get("labels") or {}).get(APPLYSET_PART_OF) != applyset_of(self._ref):
                return None
            seen = {"uid": metadata["uid"], "resource_version": metadata["resourceVersion"]}
            try:
                return await self._client.delete(resource, name, namespace, propagation="Background", **seen)
            except ApiError as error:
                if not error.conflict:
                    raise
            obj = await self._client.get(resource, name, namespace)
        raise passing("Busy", f"{resource.kind} {namespace}/{name} changes too fast to be deleted safely")

    async def _resource(self, kind: GroupKind) -> Resource:
        resource = await self._mapper.resource(*kind)
        if not resource.namespaced:
            raise lasting("ClusterScoped", f"{kind[1]} is cluster-scoped: only objects in namespaces are placed")
        return resource

    async def _parent(self) -> Object | None:
        try:
            return await self._client.get(CONFIGMAPS, applyset_name(self._ref), SYSTEM_NAMESPACE)
        except ApiError as error:
            if error.not_found:
                return None
            raise

    async def _write_parent(self, kinds: Iterable[GroupKind]) -> None:
        await self._client.apply(CONFIGMAPS, parent_of(self._ref, self._uid, kinds), field_manager=APPLIER, force=True)

    async def _make_namespace(self, name: str) -> None:
        """It is not a member of the set: what else runs in it must outlive us."""
        try:
            await self._client.create(
                NAMESPACES,
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}},
                field_manager=APPLIER,
            )
        except ApiError as error:
            if error.already_exists:
                return
            if error.forbidden and await self._namespace_exists(name):
                return
            raise

    async def _namespace_exists(self, name: str) -> bool:
        """We may use a namespace that somebody made for us, where we may not make any."""
        try:
            await self._client.get(NAMESPACES, name)
        except ApiError:
            return False
        return True


async def _all(*work: Awaitable[T]) -> list[T]:
    """Do all of it at once, and wait for all of it also where some of it fails: nothing may go on behind our back."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results  # type: ignore[return-value]  # there are no exceptions among them


async def _absent(doing: Awaitable[object]) -> None:
    """That it is not there is as good as done."""
    try:
        await doing
    except ApiError as error:
        if not error.not_found:
            raise
