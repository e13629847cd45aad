"""The hub's side of status: reads Placements, decisions, bindings and policies; writes statuses, and Events."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from shared.aio.lru import Lru
from shared.api import (
    ApiObject,
    Placement,
    PlacementBinding,
    PlacementDecision,
    PlacementPolicy,
    PlacementPolicyStatus,
    PlacementStatus,
    to_dict,
)
from shared.hub.decisions import read_decision
from shared.hub.events import EventType, tell
from shared.hub.hub import Hub
from shared.hub.names import binding_name, field_manager
from shared.hub.resources import BINDINGS, PLACEMENTS, POLICIES
from shared.kube.apis import RestMapper
from shared.kube.errors import ApiError
from shared.kube.resources import Resource
from shared.model.refs import PlacementRef

T = TypeVar("T", bound=msgspec.Struct)

COMPONENT = "status"
_MAPPERS = 1000  # workspaces whose declared kinds are remembered
FIELD_MANAGER = field_manager(COMPONENT)


class StatusRecords:
    """Objects of the hub that status reads and writes."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._mappers: Lru[str, RestMapper] = Lru(_MAPPERS)

    async def placement(self, ref: PlacementRef) -> Placement | None:
        return await self._get(ref.workspace, PLACEMENTS, ref.name, ref.namespace, Placement)

    async def decision(self, ref: PlacementRef) -> PlacementDecision | None:
        return await read_decision(self._hub.at(ref.workspace), ref.name, ref.namespace)

    async def binding(self, ref: PlacementRef, target: str) -> PlacementBinding | None:
        return await self._get(ref.workspace, BINDINGS, binding_name(ref.name, target), ref.namespace, PlacementBinding)

    async def policy(self, workspace: str, name: str) -> PlacementPolicy | None:
        return await self._get(workspace, POLICIES, name, "", PlacementPolicy)

    async def write(self, ref: PlacementRef, placement: Placement, status: PlacementStatus) -> Placement:
        """Write the status if nobody wrote since the Placement was read; else ApiError with `conflict`.

        Of the rest, a write of the status changes nothing, whatever is in it.
        """
        new = to_dict(msgspec.structs.replace(placement, status=status))
        client = self._hub.at(ref.workspace)
        return await client.replace(PLACEMENTS, new, subresource="status", field_manager=FIELD_MANAGER, type=Placement)

    async def write_workload(
        self, workspace: str, resource: Resource, name: str, namespace: str, uid: str, status: Mapping[str, Any]
    ) -> None:
        """Have a workload's own object show a status; empty: none of ours any more.

        Raises ApiError with `conflict` where it is another object by now, or where somebody else owns what it shows:
        nothing is taken over. Nor is anything made that is not there, which is `not_found`.
        """
        content = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {"name": name, "namespace": namespace, "uid": uid},
            **({"status": status} if status else {}),
        }
        await self._hub.at(workspace).apply(resource, content, field_manager=FIELD_MANAGER, subresource="status")

    async def resource(self, workspace: str, api_version: str, kind: str) -> Resource:
        """How a workspace serves a kind. Raises UnknownKind, and what the hub answers."""
        known = self._mappers.get(workspace)
        if known is None:
            known = RestMapper(self._hub.at(workspace))
            self._mappers.put(workspace, known)
        return await known.resource(api_version, kind)

    async def write_policy(self, workspace: str, policy: PlacementPolicy, status: PlacementPolicyStatus) -> None:
        """Write the status if nobody wrote since the policy was read; else ApiError with `conflict`."""
        new = to_dict(msgspec.structs.replace(policy, status=status))
        client = self._hub.at(workspace)
        await client.replace(POLICIES, new, subresource="status", field_manager=FIELD_MANAGER)

    async def tell(
        self,
        workspace: str,
        about: ApiObject,
        type: EventType,
        reason: str,
        note: str,
        now: float,
    ) -> None:
        """One Event on an object, as `shared.hub.events` writes it."""
        await tell(self._hub.at(workspace), COMPONENT, about, type, reason, note, now)

    async def _get(self, workspace: str, resource: Resource, name: str, namespace: str, kind: type[T]) -> T | None:
        try:
            return await self._hub.at(workspace).get(resource, name, namespace, type=kind)
        except ApiError as error:
            if error.absent(name):
                return None
            raise
