"""Applies and prunes in a target cluster: one ApplySet per Placement.

Its parent (parent.py) is written before any member and names every kind that there may be members of, so that whatever
happens in between, all members are found again.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

import msgspec

from services.binding import runs
from services.binding.core import Identity, Member, Object, Wanted, identity, rank
from services.binding.errors import another, managers
from services.binding.target import anew, claims, fields
from services.binding.target.absence import unless_absent
from services.binding.target.adoption import check, check_sharing, is_adopted, may_force, memory
from services.binding.target.comparison import difference, reported
from services.binding.target.definitions import disown, make, served
from services.binding.target.disposal import Disposal, Heirs
from services.binding.target.leaving import removing
from services.binding.target.lookup import absent_of
from services.binding.target.outcome import applied
from services.binding.target.parent import GroupKind, kinds_of, namespaces_of, uid_of
from services.binding.target.parents import Parents
from services.binding.target.way import Way
from services.binding.trouble import Trouble, lasting, passing
from shared.aio.together import together
from shared.api import BoundObject, ManifestReference, ObjectDifference
from shared.hub.names import ADOPTED_ANNOTATION, APPLIER, OWNER_ANNOTATION, owner_of
from shared.hub.scope import brought
from shared.hub.terms import allows_kind, carried_labels, namespace_in
from shared.kube.apis import UnknownKind
from shared.kube.errors import ApiError
from shared.kube.resources import Resource, group_of
from shared.kube.text import named
from shared.model.refs import PlacementRef
from shared.model.target import Target

Labels = Callable[[], Awaitable[Mapping[str, str] | str]]
"""Reads the labels of the workspace's namespace; or one sentence that says why they are not to be had."""

Begin = Callable[[Member], AbstractAsyncContextManager[None]]
"""Around the request that applies what was not there, see `services.binding.intents`."""

_NAMED = 5  # labels that are named in one sentence
_IN_FLIGHT = 8  # requests at once in one target for one placement


class AppliedSet(msgspec.Struct, frozen=True):
    """The objects that were applied; and, where that is not all that was to be done, what it is that was not."""

    objects: list[BoundObject]
    short: Trouble | None = None
    notes: tuple[str, ...] = ()
    differences: tuple[ObjectDifference, ...] = ()


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
        self._disposal = Disposal(way.client, way.mapper, ref, self._room)
        self._where = f"target {target.id}"
        self._labels: Labels | None = None
        self._begin: Begin = lambda _: contextlib.nullcontext()
        self._notes: tuple[str, ...] = ()

    async def apply(
        self,
        wanted: Wanted,
        *,
        unchanged: Collection[Identity],
        recorded: Mapping[Identity, BoundObject],
        drifted: Collection[Identity],
        force: bool,
        heirs: Heirs,
        begin: Begin,
        first: bool = False,
        recreate: bool = False,
        labels: Labels | None = None,
    ) -> AppliedSet:
        """Make the target hold what is wanted and nothing else of this Placement.

        Objects that are `unchanged` are left alone if the set is there; of those that are not `recorded` as ours, or
        have `drifted`, it is looked at first whose they are. What ran to its end is left alone, also where it is gone.
        `first`: most likely there is no set yet. `recreate`: what the target does not let be changed is made anew.
        `labels` reads those of the workspace's namespace, should one be made; `begin` is around what is applied anew.
        """
        self._labels, self._begin = labels, begin
        kinds = {(member.ref.api_version, member.ref.kind) for member in wanted.members}
        definitions = brought(each.object for each in wanted.members)
        coming = {kind for kind in kinds if (group_of(kind[0]), kind[1]) in definitions}

        def turn(member: Member) -> tuple[bool, int]:
            """What has to wait until its kind is served holds up nothing else."""
            return (member.ref.api_version, member.ref.kind) in coming, rank(member.ref)

        resources = {kind: await self._resource(kind) for kind in kinds - coming}
        await self._hold_namespace()
        kinds |= {(ref.api_version, ref.kind) for ref in wanted.kept}
        parent = await self._parents.have(kinds, {self._namespace}, first=first)
        before, spaces = kinds_of(parent), namespaces_of(parent)
        if parent is None:
            unchanged = ()
            recorded = {name: each for name, each in recorded.items() if each.ended}  # it may be another cluster by now
        elif not (kinds <= before and self._namespace in spaces) or uid_of(parent) != self._uid:
            await self._parents.write(before | kinds, spaces | {self._namespace})
        applied: list[BoundObject] = []
        contested: list[Trouble] = []
        todo = [
            member
            for member in wanted.members
            if identity(member.ref) not in unchanged
            and not runs.stays_ended(member, recorded.get(identity(member.ref)))
        ]
        for _, group in itertools.groupby(sorted(todo, key=turn), key=turn):
            stage = list(group)
            if awaited := {(each.ref.api_version, each.ref.kind) for each in stage} - resources.keys():
                resources |= await served(self._mapper, awaited)
            known = recorded.keys() - set(drifted)
            asked = (each.ref for each in stage if identity(each.ref) not in known)
            new = await absent_of(self._client, asked, resources, self._namespace)
            done = await together(
                *(
                    self._apply(
                        member,
                        resources[member.ref.api_version, member.ref.kind],
                        recorded.get(identity(member.ref)),
                        known=identity(member.ref) in known,
                        new=identity(member.ref) in new,
                        force=force,
                        recreate=recreate,
                        contested=contested,
                    )
                    for member in stage
                )
            )
            applied += [each for each in done if each is not None]
        left: list[Object] = []
        if parent is not None:
            keep = set(map(identity, wanted.refs))
            adopted = {each.uid for each in recorded.values() if each.adopted}
            left = await self._disposal.dispose(before, spaces, keep, heirs, adopted, orphan=False)
        if not left and (before - kinds or spaces - {self._namespace}):
            await self._parents.write(kinds, {self._namespace})
        if contested:  # which holds up nothing else
            return AppliedSet(applied, contested[0], self._notes)
        return AppliedSet(applied, removing(left, self._where) if left else None, self._notes)

    async def report(self, wanted: Wanted, recorded: Mapping[Identity, BoundObject]) -> AppliedSet:
        """Change nothing, and say what is otherwise than wanted, but for what ran to its end; the objects that were
        applied before.
        """
        looked_at = [each for each in wanted.members if not runs.is_over(each, recorded.get(identity(each.ref)))]
        found = await together(*map(self._compare, looked_at))
        differences = tuple(each for each in found if each is not None)
        there = [recorded[name] for member in wanted.members if (name := identity(member.ref)) in recorded]
        return AppliedSet(there, reported(differences, len(found), self._where), differences=differences)

    async def _compare(self, member: Member) -> ObjectDifference | None:
        ref = member.ref
        try:
            resource = await self._resource((ref.api_version, ref.kind))
        except UnknownKind:
            return difference(member, None)  # its definition may be among what is wanted
        async with self._room:
            return difference(member, await unless_absent(self._client.get(resource, ref.name, ref.namespace)))

    async def present(self) -> bool:
        """Whether there may be anything of this Placement in the target."""
        return await self._parents.find() is not None

    async def clear(self, heirs: Heirs, *, orphan: bool, adopted: Collection[str] = ()) -> None:
        """Take everything of this Placement out of the target; with `orphan`, leave it there without our marks.

        Objects with the uids `adopted` are known to have been there before, also where they do not say so. Raises
        Trouble until all is gone.
        """
        parent = await self._parents.find()
        if parent is None:
            return
        kinds, namespaces = kinds_of(parent), namespaces_of(parent)
        left = await self._disposal.dispose(kinds, namespaces, (), heirs, adopted, orphan=orphan)
        if left:
            raise removing(left, self._where)
        await self._parents.end()

    async def _apply(
        self,
        member: Member,
        resource: Resource,
        recorded: BoundObject | None,
        *,
        known: bool,
        new: bool,
        force: bool,
        recreate: bool,
        contested: list[Trouble],
    ) -> BoundObject | None:
        """The object as it was applied; None where others own fields of it, which is `contested` then."""
        if member.ref.namespace and not resource.namespaced:
            raise passing(
                "ScopeUnknown", f"{member.ref.kind} has no namespace here, which the inventory does not know yet"
            )
        async with self._room:
            if recorded and not recorded.uid:
                recorded = msgspec.structs.replace(recorded, uid=await self._uid_of(member, resource))
            if recorded and recorded.uid and anew.begins_anew(member, recorded):
                await anew.end(self._client, resource, member.ref.name, member.ref.namespace, recorded.uid)
                recorded, known = None, False
            is_done = runs.is_done(member, recorded)
            try:
                found = None
                if recorded and (known or is_done):
                    found = await self._as_known(member, resource, recorded, force)
                if found is None and recorded and is_done:
                    return runs.done(member, recorded)
                if found is None:
                    found = await self._as_new(member, resource, recorded, new=new, force=force)
            except ApiError as error:
                if error.conflict and managers(error):
                    await self._apply_rest(member, resource, recorded, error)
                    contested.append(fields.conflict(member.ref, error))
                    return None
                if not error.invalid or recorded is None:
                    raise
                if not anew.may_replace(member, recorded, recreate=recreate):
                    raise anew.refused(member.ref, error) from error
                await anew.replace(self._client, resource, member.object, recorded.uid)
                found = await self._as_new(member, resource, None, new=False, force=force)
            if recorded and recorded.adopted and recorded.uid == found["metadata"]["uid"] and not is_adopted(found):
                found = await self._remember(found, member.ref, resource)  # somebody took the memory of it off
        return applied(member, found)

    async def _uid_of(self, member: Member, resource: Resource) -> str:
        """The uid of what was begun to be applied, and not recorded since; empty where it is not there."""
        found = await unless_absent(self._client.get(resource, member.ref.name, member.ref.namespace))
        annotations = (found["metadata"].get("annotations") or {}) if found is not None else {}
        ours = annotations.get(OWNER_ANNOTATION) == owner_of(self._ref)
        return str(found["metadata"]["uid"]) if found is not None and ours else ""

    async def _as_known(self, member: Member, resource: Resource, recorded: BoundObject, force: bool) -> Object | None:
        """Apply what was applied before; None where it is not the same object any more, or there is none."""
        if not recorded.uid:
            return None
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
        if not resource.namespaced:
            if await unless_absent(self._client.get(resource, member.ref.name)) is None:
                await make(self._client, resource, member.object)
            await self._check_owner(member, resource, recorded)
            return await disown(self._client, resource, await self._applied(member.object, resource, force, False))
        adopted = False if new else await self._check_owner(member, resource, recorded)
        async with self._begin(member):
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

    async def _apply_rest(
        self, member: Member, resource: Resource, recorded: BoundObject | None, error: ApiError
    ) -> None:
        """Apply what nobody else owns of an object of ours."""
        rest = fields.uncontested(member.object, error)
        if rest is not None and recorded is not None and not recorded.adopted:
            rest["metadata"]["uid"] = recorded.uid
            with contextlib.suppress(ApiError):  # which is told by the conflict already
                await self._client.apply(resource, rest, field_manager=APPLIER, force=False)

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
            check_sharing(member, owner, self._ref)
            return is_adopted(found)
        if recorded is not None and recorded.uid == found["metadata"]["uid"]:  # somebody took our marks off
            return recorded.adopted
        check(found, member.object, ref, self._terms)
        await self._remember(found, ref, resource)
        return True

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
        raise passing("Busy", f"{named(ref.kind, ref.name, ref.namespace)} is just being changed by others")

    async def _resource(self, kind: GroupKind) -> Resource:
        resource = await self._mapper.resource(*kind)
        if not resource.namespaced and not allows_kind(self._terms, *kind):
            raise lasting("ClusterScoped", f"{kind[1]} has no namespace, and the target's owner does not list it")
        return resource

    async def _hold_namespace(self, *, anew: bool = False) -> None:
        workspace = self._ref.workspace
        known = self._claims.get(self._namespace) == workspace or self._held.has(self._namespace, workspace)
        if anew or not known:
            found = await self._labels() if self._labels is not None else {}
            labels, withheld = carried_labels(self._terms, {} if isinstance(found, str) else found)
            if await claims.hold(self._client, self._namespace, workspace, labels):
                self._notes = _notes(found if isinstance(found, str) else "", withheld)
            self._held.note(self._namespace, workspace)


def _notes(unread: str, withheld: Sequence[str]) -> tuple[str, ...]:
    """What is to be said of the labels of a namespace that was made."""
    if unread:
        return (f"The namespace has no labels of the workspace's: {unread}.",)
    if not withheld:
        return ()
    named, more = ", ".join(withheld[:_NAMED]), f" and {len(withheld) - _NAMED} more" if len(withheld) > _NAMED else ""
    return (f"The namespace has not got the labels {named}{more}: the target's owner does not list them.",)
