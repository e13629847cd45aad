"""The hub's side of status: reads Placements, decisions and bindings; writes the Placement's status, and Events."""

import hashlib
import logging
from typing import Literal, TypeVar

import msgspec

from shared.api import Placement, PlacementBinding, PlacementDecision, PlacementStatus, to_dict
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.hub import Hub
from shared.kube.names import binding_name
from shared.kube.resources import BINDINGS, DECISIONS, EVENTS, PLACEMENTS, Resource
from shared.model import PlacementRef
from shared.times import rfc3339

log = logging.getLogger("moorage.status")

T = TypeVar("T", bound=msgspec.Struct)

FIELD_MANAGER = "moorage-status"
_NAME = 253
_NOTE = 1024  # bytes of an Event's message that every API server takes


class Records:
    """What the hub holds."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def placement(self, ref: PlacementRef) -> Placement | None:
        return await self._get(PLACEMENTS, ref, ref.name, Placement)

    async def decision(self, ref: PlacementRef) -> PlacementDecision | None:
        return await self._get(DECISIONS, ref, ref.name, PlacementDecision)

    async def binding(self, ref: PlacementRef, target: str) -> PlacementBinding | None:
        return await self._get(BINDINGS, ref, binding_name(ref.name, target), PlacementBinding)

    async def write(self, ref: PlacementRef, placement: Placement, status: PlacementStatus) -> None:
        """Write the status if nobody wrote since the Placement was read; else ApiError with `conflict`."""
        body = to_dict(msgspec.structs.replace(placement, status=status))
        await self._client(ref).replace(PLACEMENTS, body, subresource="status", field_manager=FIELD_MANAGER)

    async def tell(
        self,
        ref: PlacementRef,
        placement: Placement,
        type: Literal["Normal", "Warning"],
        reason: str,
        note: str,
        now: float,
    ) -> None:
        """One Event on the Placement. The same words about the same object are the same Event, which is written once.

        Events are a courtesy: where they cannot be written, that is logged and nothing else.
        """
        uid = placement.metadata.uid
        digest = hashlib.sha256(f"{uid}\0{reason}\0{note}".encode()).hexdigest()[:16]
        event = {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": f"{ref.name[: _NAME - 17]}.{digest}", "namespace": ref.namespace},
            "firstTimestamp": rfc3339(now, "seconds"),
            "lastTimestamp": rfc3339(now, "seconds"),
            "count": 1,
            "source": {"component": "moorage-status"},
            "reportingComponent": "placement.moorage.io/status",
            "reportingInstance": "moorage-status",
            "reason": reason[:128],
            "involvedObject": {
                "apiVersion": PLACEMENTS.api_version,
                "kind": PLACEMENTS.kind,
                "namespace": ref.namespace,
                "name": ref.name,
                "uid": uid,
            },
            "message": note[:_NOTE],
            "type": type,
        }
        try:
            await self._client(ref).create(EVENTS, event, field_manager=FIELD_MANAGER)
        except ApiError as error:
            if not error.already_exists:
                log.warning("an event could not be written", extra={"reason": reason, "error": str(error)})

    async def _get(self, resource: Resource, ref: PlacementRef, name: str, kind: type[T]) -> T | None:
        try:
            return await self._client(ref).get(resource, name, ref.namespace, type=kind)
        except ApiError as error:
            if error.not_found:
                return None
            raise

    def _client(self, ref: PlacementRef) -> Client:
        return self._hub.at(ref.workspace)
