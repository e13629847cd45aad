"""The hub's side of binding: Placements and decisions are read, PlacementBindings are written by compare-and-set."""

import asyncio
from typing import TypeVar

import msgspec

from services.binding.core import Identity, identity
from shared.api import Placement, PlacementBinding, PlacementDecision, decode_binding, to_dict
from shared.hub.hub import Hub
from shared.hub.names import APPLIED_FINALIZER, PLACEMENT_LABEL, binding_name, field_manager, label_value
from shared.hub.resources import BINDINGS, DECISIONS, PLACEMENTS, SYNCTARGETS
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.resources import Resource
from shared.model.refs import PlacementRef, TargetRef

T = TypeVar("T", bound=msgspec.Struct)

FIELD_MANAGER = field_manager("binding")


class Facts(msgspec.Struct, frozen=True):
    """The state of the hub concerning one placement in one target."""

    placement: Placement | None
    decision: PlacementDecision | None
    binding: PlacementBinding | None


class Records:
    """Objects of the hub. Every write raises ApiError with `conflict` if somebody wrote since the object was read."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def facts(self, ref: PlacementRef, target: str) -> Facts:
        """All that is to be known before anything is done."""
        placement, decision, binding = await asyncio.gather(
            self._get(PLACEMENTS, ref, ref.name, Placement),
            self._get(DECISIONS, ref, ref.name, PlacementDecision),
            self.binding(ref, target),
        )
        return Facts(placement, decision, binding)

    async def binding(self, ref: PlacementRef, target: str) -> PlacementBinding | None:
        return await self._get(BINDINGS, ref, binding_name(ref.name, target), PlacementBinding)

    async def create(self, ref: PlacementRef, binding: PlacementBinding) -> PlacementBinding:
        return await self._client(ref).create(
            BINDINGS, to_dict(binding), field_manager=FIELD_MANAGER, type=PlacementBinding
        )

    async def write(self, ref: PlacementRef, binding: PlacementBinding) -> PlacementBinding:
        """Metadata and spec."""
        return await self._client(ref).replace(
            BINDINGS, to_dict(binding), field_manager=FIELD_MANAGER, type=PlacementBinding
        )

    async def write_status(self, ref: PlacementRef, binding: PlacementBinding) -> PlacementBinding:
        return await self._client(ref).replace(
            BINDINGS, to_dict(binding), subresource="status", field_manager=FIELD_MANAGER, type=PlacementBinding
        )

    async def delete(self, ref: PlacementRef, binding: PlacementBinding) -> None:
        """Mark for deletion; it stays until `release`."""
        metadata = binding.metadata
        await self._client(ref).delete(
            BINDINGS,
            metadata.name,
            metadata.namespace,
            uid=metadata.uid,
            resource_version=metadata.resource_version,
        )

    async def release(self, ref: PlacementRef, binding: PlacementBinding) -> None:
        """Let a binding that is marked for deletion go."""
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
        page = await self._client(ref).list(BINDINGS, ref.namespace)
        found: dict[Identity, PlacementRef] = {}
        for binding in map(decode_binding, page.items):
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

    async def _get(self, resource: Resource, ref: PlacementRef, name: str, kind: type[T]) -> T | None:
        try:
            return await self._client(ref).get(resource, name, ref.namespace, type=kind)
        except ApiError as error:
            if error.absent(name):
                return None
            raise

    def _client(self, ref: PlacementRef) -> Client:
        return self._hub.at(ref.workspace)
