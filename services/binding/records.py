"""The hub's side of binding: Placements and decisions are read, PlacementBindings are written by compare-and-set."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import TypeVar

import msgspec

from services.binding.core import Identity, identity
from services.binding.lifecycle import attempt_of
from shared.aio.lru import Lru
from shared.aio.sharing import JointReads, Kept
from shared.api import Placement, PlacementBinding, PlacementDecision, PlacementRevision, decode_binding, to_dict
from shared.hub.decisions import read_decision
from shared.hub.hub import Hub
from shared.hub.names import APPLIED_FINALIZER, PLACEMENT_LABEL, binding_name, field_manager, label_value
from shared.hub.resources import BINDINGS, PLACEMENTS, REVISIONS, SYNCTARGETS
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.resources import Resource
from shared.model.refs import Head, PlacementRef, TargetRef
from shared.pipeline.messages import Assigned

T = TypeVar("T", bound=msgspec.Struct)

FIELD_MANAGER = field_manager("binding")

_KEPT = 2.0  # seconds
_ATTEMPTS = 256  # that are kept at a time
_SEEN = 2_000  # bindings that are remembered; of a few KiB each


class Facts(msgspec.Struct, frozen=True):
    """The state of the hub concerning one placement in one target."""

    placement: Placement | None
    decision: PlacementDecision | None
    binding: PlacementBinding | None
    certain: bool = True
    """Whether the binding was read now. Else it is as this process saw it last: any write of it says if it still is."""


class Records:
    """Objects of the hub. Every write raises ApiError with `conflict` if somebody wrote since the object was read.

    Placements and decisions are read once for all targets whose messages are handled at the same time.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._placements = JointReads(self._placement)
        self._decisions = JointReads(self._decision)
        self._bindings = JointReads(self._bindings_of)
        self._attempts: Kept[tuple[PlacementRef, Head], Placement | None] = Kept(seconds=_KEPT, limit=_ATTEMPTS)
        self._seen: Lru[tuple[PlacementRef, str], PlacementBinding] = Lru(_SEEN)

    async def facts(self, ref: PlacementRef, target: str, *, writing: Assigned | None = None) -> Facts:
        """All that is to be known before anything is done.

        The binding may be remembered where it will be written for a message, so that compare-and-set tells if it
        changed since: where it is to go, or was written for an older attempt.
        """
        known = self._seen.get((ref, target)) if writing is not None else None
        if known is not None and writing is not None and not writing.remove:
            known = known if attempt_of(known) < writing.head.attempt else None
        placement, decision, binding = await asyncio.gather(
            self._placements.get(ref),
            self._decisions.get(ref),
            self.binding(ref, target) if known is None else _at_once(known),
        )
        return Facts(placement, decision, binding, certain=known is None)

    def is_new(self, ref: PlacementRef, target: str) -> bool:
        """Whether this process never saw a binding."""
        return (ref, target) not in self._seen

    async def placement(self, ref: PlacementRef, head: Head) -> Placement | None:
        """The Placement as it was when a target of this attempt was begun, for some seconds."""
        return await self._attempts.get((ref, head), lambda: self._placements.get(ref))

    def deciding(self, ref: PlacementRef) -> AbstractContextManager[Callable[[], Awaitable[PlacementDecision | None]]]:
        """To be about to read the PlacementDecision, after something else: gives what reads it."""
        return self._decisions.joining(ref)

    async def decision(self, ref: PlacementRef) -> PlacementDecision | None:
        """The PlacementDecision as it is now."""
        return await self._decisions.get(ref)

    async def binding(self, ref: PlacementRef, target: str) -> PlacementBinding | None:
        """A binding as it is now."""
        found = await self._get(BINDINGS, ref, binding_name(ref.name, target), PlacementBinding)
        self._note(ref, target, found)
        return found

    def forget(self, ref: PlacementRef, target: str) -> None:
        """Read a binding anew next time."""
        self._seen.pop((ref, target))

    async def create(self, ref: PlacementRef, binding: PlacementBinding) -> PlacementBinding:
        creating = self._client(ref).create(
            BINDINGS, to_dict(binding), field_manager=FIELD_MANAGER, type=PlacementBinding
        )
        return await self._written(ref, binding, creating)

    async def write(self, ref: PlacementRef, binding: PlacementBinding) -> PlacementBinding:
        """Metadata and spec."""
        writing = self._client(ref).replace(
            BINDINGS, to_dict(binding), field_manager=FIELD_MANAGER, type=PlacementBinding
        )
        return await self._written(ref, binding, writing)

    async def write_status(self, ref: PlacementRef, binding: PlacementBinding) -> PlacementBinding:
        writing = self._client(ref).replace(
            BINDINGS, to_dict(binding), subresource="status", field_manager=FIELD_MANAGER, type=PlacementBinding
        )
        return await self._written(ref, binding, writing)

    async def _written(
        self, ref: PlacementRef, binding: PlacementBinding, writing: Awaitable[PlacementBinding]
    ) -> PlacementBinding:
        target = TargetRef.of(binding.spec.target).id
        self.forget(ref, target)  # whatever comes of it, it is not as it was
        written = await writing
        self._note(ref, target, written)
        return written

    def _note(self, ref: PlacementRef, target: str, binding: PlacementBinding | None) -> None:
        if binding is None:
            self.forget(ref, target)
        else:
            self._seen.put((ref, target), binding)

    async def discard(self, ref: PlacementRef, binding: PlacementBinding) -> None:
        """Take back a binding under which nothing was done."""
        marked = await self.delete(ref, binding)
        if marked is not None:
            await self.release(ref, marked)

    async def annotate(self, ref: PlacementRef, binding: PlacementBinding) -> PlacementBinding:
        """Only the annotations, also of a binding that is marked for deletion."""
        metadata = binding.metadata
        patch = {"metadata": {"annotations": metadata.annotations, "resourceVersion": metadata.resource_version}}
        writing = self._client(ref).merge_patch(
            BINDINGS, metadata.name, patch, metadata.namespace, field_manager=FIELD_MANAGER, type=PlacementBinding
        )
        return await self._written(ref, binding, writing)

    async def delete(self, ref: PlacementRef, binding: PlacementBinding) -> PlacementBinding | None:
        """Mark for deletion; it stays until `release`, but for one that had no finalizer of ours any more: None."""
        self.forget(ref, TargetRef.of(binding.spec.target).id)
        metadata = binding.metadata
        answer = await self._client(ref).delete(
            BINDINGS,
            metadata.name,
            metadata.namespace,
            uid=metadata.uid,
            resource_version=metadata.resource_version,
        )
        return decode_binding(answer) if answer.get("kind") == BINDINGS.kind else None

    async def release(self, ref: PlacementRef, binding: PlacementBinding) -> None:
        """Let a binding that is marked for deletion go."""
        self.forget(ref, TargetRef.of(binding.spec.target).id)
        metadata = binding.metadata
        left = [each for each in metadata.finalizers if each != APPLIED_FINALIZER]
        patch = {"metadata": {"finalizers": left, "resourceVersion": metadata.resource_version}}
        try:
            await self._client(ref).merge_patch(
                BINDINGS, metadata.name, patch, metadata.namespace, field_manager=FIELD_MANAGER
            )
        except ApiError as error:
            if not error.not_found:
                raise

    async def heirs(self, ref: PlacementRef, target: str) -> dict[Identity, PlacementRef]:
        """Which other Placements of the namespace want what in the same target."""
        found: dict[Identity, PlacementRef] = {}
        for binding in await self._bindings.get((ref.workspace, ref.namespace)):
            spec = binding.spec
            if TargetRef.of(spec.target).id != target or spec.placement_ref.name == ref.name:
                continue
            if binding.metadata.deletion_timestamp is None:
                other = PlacementRef(workspace=ref.workspace, namespace=ref.namespace, name=spec.placement_ref.name)
                found |= {identity(each): other for each in spec.manifests}
        return found

    async def others(self, ref: PlacementRef) -> list[PlacementBinding]:
        """All bindings of a placement."""
        selector = f"{PLACEMENT_LABEL}={label_value(ref.name)}"
        page = await self._client(ref).list(BINDINGS, ref.namespace, label_selector=selector)
        return [decode_binding(item) for item in page.items]

    async def keep(self, ref: PlacementRef, revision: PlacementRevision) -> None:
        """Have a revision on record, as of the attempt that it names."""
        client, metadata = self._client(ref), revision.metadata
        try:
            await client.create(REVISIONS, to_dict(revision), field_manager=FIELD_MANAGER)
        except ApiError as error:
            if not error.already_exists:
                raise
            patch = {"spec": {"attempt": revision.spec.attempt}}
            await client.merge_patch(REVISIONS, metadata.name, patch, ref.namespace, field_manager=FIELD_MANAGER)

    async def revisions(self, ref: PlacementRef) -> list[PlacementRevision]:
        """All revisions of a placement that are on record."""
        selector = f"{PLACEMENT_LABEL}={label_value(ref.name)}"
        page = await self._client(ref).list(REVISIONS, ref.namespace, label_selector=selector, type=PlacementRevision)
        return page.items

    async def forget_revision(self, ref: PlacementRef, revision: PlacementRevision) -> None:
        """Delete a revision."""
        await self._client(ref).delete(REVISIONS, revision.metadata.name, ref.namespace)

    async def target_exists(self, target: str) -> bool:
        """True if there is such a SyncTarget; the inventory may be behind, or be rebuilt just now."""
        ref = TargetRef.parse(target)
        try:
            await self._hub.at(ref.workspace).get(SYNCTARGETS, ref.name)
        except ApiError as error:
            if error.absent(ref.name) or (error.forbidden and await self.workspace_is_gone(ref.workspace)):
                return False
            raise
        return True

    async def workspace_is_gone(self, workspace: str) -> bool:
        """True if there is no such workspace for certain, see `Hub.is_gone`."""
        return await self._hub.is_gone(workspace)

    async def _placement(self, ref: PlacementRef) -> Placement | None:
        return await self._get(PLACEMENTS, ref, ref.name, Placement)

    async def _decision(self, ref: PlacementRef) -> PlacementDecision | None:
        return await read_decision(self._client(ref), ref.name, ref.namespace)

    async def _bindings_of(self, where: tuple[str, str]) -> list[PlacementBinding]:
        workspace, namespace = where
        page = await self._hub.at(workspace).list(BINDINGS, namespace)
        return list(map(decode_binding, page.items))

    async def _get(self, resource: Resource, ref: PlacementRef, name: str, kind: type[T]) -> T | None:
        try:
            return await self._client(ref).get(resource, name, ref.namespace, type=kind)
        except ApiError as error:
            if error.absent(name):
                return None
            raise

    def _client(self, ref: PlacementRef) -> Client:
        return self._hub.at(ref.workspace)


async def _at_once(value: T) -> T:
    return value
