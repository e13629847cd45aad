"""Takes members of an ApplySet out of a target: deleted, given back, handed over, or left without our marks."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

from services.binding.core import Identity, Object, identity, rank, reference
from services.binding.target.absence import unless_absent
from services.binding.target.adoption import is_adopted, release, restored
from services.binding.target.definitions import is_used
from services.binding.target.leaving import is_leaving, propagation
from services.binding.target.parent import GroupKind
from services.binding.trouble import passing
from shared.aio.together import together
from shared.hub.names import (
    ADOPTED_ANNOTATION,
    APPLIER,
    MANAGED_LABEL,
    OWNER_ANNOTATION,
    applyset_of,
    owner_of,
)
from shared.hub.scope import is_definition
from shared.kube.apis import RestMapper, UnknownKind
from shared.kube.applyset import APPLYSET_PART_OF
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.resources import CONFIGMAPS, Resource
from shared.kube.text import named
from shared.model.refs import PlacementRef

_RACES = 10  # versions that an object may go through between being read and being deleted
_UNMARKED = dict.fromkeys((OWNER_ANNOTATION, ADOPTED_ANNOTATION))
Heirs = Callable[[], Awaitable[Mapping[Identity, PlacementRef]]]
"""Which other Placement wants an object that this one leaves, in the same target."""


class Disposal:
    """Methods raise Trouble and what the client raises. `room` bounds the requests at one time."""

    def __init__(self, client: Client, mapper: RestMapper, ref: PlacementRef, room: asyncio.Semaphore) -> None:
        self._client = client
        self._mapper = mapper
        self._ref = ref
        self._room = room

    async def dispose(
        self,
        kinds: Iterable[GroupKind],
        namespaces: Iterable[str],
        keep: Collection[Identity],
        heirs: Heirs,
        adopted: Collection[str],
        *,
        orphan: bool,
    ) -> list[Object]:
        """Take away all members but those to `keep`; those that are deleted and still there all the same.

        Objects with the uids `adopted` are known to have been there before, also where they do not say so.
        """
        places = itertools.product(sorted(kinds), sorted(namespaces))
        members = [
            (resource, obj)
            for resource, found in await together(*(self._members(kind, namespace) for kind, namespace in places))
            for obj in found
            if identity(reference(obj)) not in keep
        ]
        if not members:
            return []
        others = {} if orphan else await heirs()
        members.sort(key=lambda pair: rank(reference(pair[1])), reverse=True)  # workloads first, what they need last
        left: list[Object] = []
        for _, stage in itertools.groupby(members, key=lambda pair: rank(reference(pair[1]))):
            still = await together(
                *(
                    self._let_go(resource, obj, others.get(identity(reference(obj))), adopted, orphan=orphan)
                    for resource, obj in stage
                )
            )
            left += [each for each in still if each is not None]
        return left

    async def _members(self, kind: GroupKind, namespace: str) -> tuple[Resource, list[Object]]:
        try:
            resource = await self._mapper.resource(*kind)
            async with self._room:
                page = await self._client.list(
                    resource, namespace, label_selector=f"{APPLYSET_PART_OF}={applyset_of(self._ref)}"
                )
        except UnknownKind:
            return CONFIGMAPS, []  # the API is gone, and its objects with it
        except ApiError as error:
            if not error.not_found or not await self._is_gone(kind):
                raise
            return CONFIGMAPS, []
        return resource, [{"apiVersion": kind[0], "kind": kind[1], **obj} for obj in page.items]

    async def _is_gone(self, kind: GroupKind) -> bool:
        """Whether a kind is not served any more: its definition may have been a member, too."""
        await self._mapper.refresh()
        try:
            await self._mapper.resource(*kind)
        except UnknownKind:
            return True
        return False

    async def _let_go(
        self, resource: Resource, obj: Object, heir: PlacementRef | None, adopted: Collection[str], *, orphan: bool
    ) -> Object | None:
        async with self._room:
            if orphan or heir is not None:
                await unless_absent(self._mark(resource, obj, heir))
                return None
            return await unless_absent(self._end(resource, obj, adopted))

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

    async def _end(self, resource: Resource, obj: Object, adopted: Collection[str]) -> Object | None:
        """Delete an object that we made, or give back one that was there before, unless it passed to another set since
        it was read: it must be as we saw it. The object, where it is being deleted and not gone.
        """
        name, namespace = obj["metadata"]["name"], obj["metadata"].get("namespace", "")
        bare = {"apiVersion": resource.api_version, "kind": resource.kind}
        for _ in range(_RACES):
            metadata = obj["metadata"]
            if (metadata.get("labels") or {}).get(APPLYSET_PART_OF) != applyset_of(self._ref):
                return None
            try:
                if is_adopted(obj) or metadata["uid"] in adopted:
                    await self._give_back(resource, obj)
                    return None
                if is_leaving(obj):  # whoever had it deleted
                    return obj
                if is_definition(resource.api_version, resource.kind) and await is_used(self._client, obj):
                    return obj
                seen = {"uid": metadata["uid"], "resource_version": metadata["resourceVersion"]}
                how = propagation(obj)
                answer = await self._client.delete(resource, name, namespace, propagation=how, **seen)
            except ApiError as error:
                if not error.conflict:
                    raise
            else:
                return {**bare, **answer} if is_leaving(answer) else None
            obj = {**bare, **await self._client.get(resource, name, namespace)}
        raise passing("Busy", f"{named(resource.kind, name, namespace)} changes too fast to be deleted safely")

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
