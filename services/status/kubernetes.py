"""The hub's side of status: reads Placements, decisions, bindings and policies; writes statuses, and Events."""

import hashlib
import logging
from typing import Literal, TypeVar

import msgspec

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
from shared.hub.hub import Hub
from shared.hub.names import EVENT_REPORTER, binding_name, field_manager
from shared.hub.resources import BINDINGS, DECISIONS, PLACEMENTS, POLICIES
from shared.kube.errors import ApiError
from shared.kube.resources import EVENTS, Resource
from shared.kube.times import rfc3339
from shared.model.refs import PlacementRef

log = logging.getLogger("moorage.status")

T = TypeVar("T", bound=msgspec.Struct)

FIELD_MANAGER = field_manager("status")
CLUSTER_SCOPED = "default"  # where Kubernetes keeps the Events of objects without a namespace
_NAME = 253
_NOTE = 1024  # bytes of an Event's message that every API server takes


class StatusRecords:
    """Objects of the hub that status reads and writes."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def placement(self, ref: PlacementRef) -> Placement | None:
        return await self._get(ref.workspace, PLACEMENTS, ref.name, ref.namespace, Placement)

    async def decision(self, ref: PlacementRef) -> PlacementDecision | None:
        return await self._get(ref.workspace, DECISIONS, ref.name, ref.namespace, PlacementDecision)

    async def binding(self, ref: PlacementRef, target: str) -> PlacementBinding | None:
        return await self._get(ref.workspace, BINDINGS, binding_name(ref.name, target), ref.namespace, PlacementBinding)

    async def policy(self, workspace: str, name: str) -> PlacementPolicy | None:
        return await self._get(workspace, POLICIES, name, "", PlacementPolicy)

    async def write(self, ref: PlacementRef, placement: Placement, status: PlacementStatus) -> None:
        """Write the status if nobody wrote since the Placement was read; else ApiError with `conflict`."""
        await self._write(ref.workspace, PLACEMENTS, msgspec.structs.replace(placement, status=status))

    async def write_policy(self, workspace: str, policy: PlacementPolicy, status: PlacementPolicyStatus) -> None:
        """Write the status if nobody wrote since the policy was read; else ApiError with `conflict`."""
        await self._write(workspace, POLICIES, msgspec.structs.replace(policy, status=status))

    async def tell(
        self,
        workspace: str,
        about: ApiObject,
        type: Literal["Normal", "Warning"],
        reason: str,
        note: str,
        now: float,
    ) -> None:
        """One Event on an object. The same words about the same object are the same Event, which is written once.

        Events are a courtesy: where they cannot be written, that is logged and nothing else.
        """
        metadata, kind = about.metadata, str(about.__struct_config__.tag)
        uid, namespace = metadata.uid, metadata.namespace
        digest = hashlib.sha256(f"{uid}\0{reason}\0{note}".encode()).hexdigest()[:16]
        event = {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": f"{metadata.name[: _NAME - 17]}.{digest}", "namespace": namespace or CLUSTER_SCOPED},
            "firstTimestamp": rfc3339(now, "seconds"),
            "lastTimestamp": rfc3339(now, "seconds"),
            "count": 1,
            "source": {"component": FIELD_MANAGER},
            "reportingComponent": EVENT_REPORTER,
            "reportingInstance": FIELD_MANAGER,
            "reason": reason[:128],
            "involvedObject": {
                "apiVersion": about.api_version,
                "kind": kind,
                "name": metadata.name,
                "uid": uid,
                **({"namespace": namespace} if namespace else {}),
            },
            "message": note[:_NOTE],
            "type": type,
        }
        try:
            await self._hub.at(workspace).create(EVENTS, event, field_manager=FIELD_MANAGER)
        except ApiError as error:
            if not error.already_exists:
                log.warning("an event could not be written", extra={"reason": reason, "error": str(error)})

    async def _write(self, workspace: str, resource: Resource, obj: ApiObject) -> None:
        client = self._hub.at(workspace)
        await client.replace(resource, to_dict(obj), subresource="status", field_manager=FIELD_MANAGER)

    async def _get(self, workspace: str, resource: Resource, name: str, namespace: str, kind: type[T]) -> T | None:
        try:
            return await self._hub.at(workspace).get(resource, name, namespace, type=kind)
        except ApiError as error:
            if error.absent(name):
                return None
            raise
