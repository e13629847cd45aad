"""PlacementDecisions on the hub: read, and written by compare-and-set; PlacementBindings: read."""

from typing import Any

import msgspec

from services.decision import bound
from shared.api import (
    Placement,
    PlacementDecisionStatus,
    PlacementSpec,
    decode_binding,
    decode_decision,
    decode_placement,
    to_dict,
)
from shared.api.decision import PlacementDecision
from shared.hub.hub import Hub
from shared.hub.names import PLACEMENT_LABEL, field_manager, label_value
from shared.hub.resources import BINDINGS, DECISIONS, PLACEMENTS
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.model.decision import Reservation
from shared.model.refs import Head, PlacementRef, TargetRef

FIELD_MANAGER = field_manager("decision")


class Decisions:
    """The PlacementDecisions of all workspaces."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def read(self, ref: PlacementRef) -> tuple[PlacementDecisionStatus | None, dict[str, Any] | None]:
        """What was decided last, and the object as the API server has it; None, None when there is none."""
        try:
            found = await self._client(ref).get(DECISIONS, ref.name, ref.namespace)
        except ApiError as error:
            if error.absent(ref.name):
                return None, None
            raise
        return decode_decision(found).status, found

    async def write(
        self, ref: PlacementRef, head: Head, status: PlacementDecisionStatus, found: dict[str, Any] | None
    ) -> None:
        """Write a decision if nobody wrote since `found` was read; raises ApiError with `conflict` if somebody did."""
        if found is None:
            found = await self._client(ref).create(DECISIONS, _fresh(ref, head.uid), field_manager=FIELD_MANAGER)
        body = to_dict(PlacementDecision(status=status))
        body["metadata"] = {
            "name": ref.name,
            "namespace": ref.namespace,
            "resourceVersion": found["metadata"]["resourceVersion"],
        }
        await self._client(ref).replace(DECISIONS, body, subresource="status", field_manager=FIELD_MANAGER)

    async def forget(self, ref: PlacementRef) -> None:
        """Delete the decision of a placement that goes away; it is fine when there is none."""
        try:
            await self._client(ref).delete(DECISIONS, ref.name, ref.namespace)
        except ApiError as error:
            if not error.not_found:
                raise

    async def bound(self, ref: PlacementRef) -> set[str]:
        """The ids of the targets that a placement has PlacementBindings for."""
        return set(await self.applied(ref))

    async def applied(self, ref: PlacementRef) -> dict[str, int]:
        """The targets, by id, that a placement has PlacementBindings for: which attempt is applied in full, or 0."""
        page = await self._client(ref).list(
            BINDINGS, ref.namespace, label_selector=f"{PLACEMENT_LABEL}={label_value(ref.name)}"
        )
        return {bound.target_of(each): bound.applied(each) for each in map(decode_binding, page.items)}

    async def exists(self, ref: PlacementRef) -> bool:
        """Whether there is a Placement of this name, whatever its uid."""
        return await self._placement(ref) is not None

    async def uid(self, ref: PlacementRef) -> str | None:
        """The uid of the Placement of this name; None when there is none."""
        found = await self._placement(ref)
        return str(found.get("uid", "")) if found is not None else None

    async def living(self, ref: PlacementRef) -> str:
        """The uid of the Placement of this name; empty where there is none, or it is being deleted."""
        found = await self._placement(ref)
        return "" if found is None or found.get("deletionTimestamp") else str(found.get("uid", ""))

    async def _placement(self, ref: PlacementRef) -> dict[str, Any] | None:
        """The metadata of the Placement of this name."""
        try:
            found = await self._client(ref).get(PLACEMENTS, ref.name, ref.namespace)
        except ApiError as error:
            if error.absent(ref.name):
                return None
            raise
        metadata: dict[str, Any] = found["metadata"]
        return metadata

    async def reservations(self, workspace: str) -> list[tuple[str, Reservation]]:
        """What the decisions of a workspace, and its bindings, say is reserved, by the id of the target.

        Of one placement and target there may be one of each: what is decided, and what is there or may be.
        """
        client = self._hub.at(workspace)
        bindings = [decode_binding(each) for each in (await client.list(BINDINGS)).items]
        decisions, page = await client.list(DECISIONS), await client.list(PLACEMENTS)
        placements = {
            (placement.metadata.namespace, placement.metadata.name): placement
            for placement in map(decode_placement, page.items)
        }
        nobody = Placement(spec=PlacementSpec())
        found = []
        for each in bindings:
            placement = placements.get((each.metadata.namespace, each.spec.placement_ref.name), nobody)
            found.append((bound.target_of(each), bound.reserved(each, workspace, placement)))
        for decision in map(decode_decision, decisions.items):
            metadata, status = decision.metadata, decision.status
            placement = placements.get((metadata.namespace, metadata.name), nobody)
            owner = metadata.owner_references[0].uid if metadata.owner_references else ""
            held = Reservation(
                placement=PlacementRef(workspace=workspace, namespace=metadata.namespace, name=metadata.name),
                head=Head(uid=owner, generation=status.observed_generation, attempt=status.attempt),
                resources={},
                labels=placement.metadata.labels,
                orphan=placement.spec.deletion_policy == "Orphan",
            )
            found += [
                (TargetRef.of(each.target).id, msgspec.structs.replace(held, resources=dict(each.reserved)))
                for each in status.selected
            ]
        return found

    def _client(self, ref: PlacementRef) -> Client:
        return self._hub.at(ref.workspace)


def owner_of(decision: dict[str, Any]) -> str:
    """The uid of the Placement that a PlacementDecision was written for."""
    owners = decision["metadata"].get("ownerReferences") or [{}]
    return str(owners[0].get("uid", ""))


def _fresh(ref: PlacementRef, uid: str) -> dict[str, Any]:
    owner = {
        "apiVersion": DECISIONS.api_version,
        "kind": "Placement",
        "name": ref.name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    metadata = {
        "name": ref.name,
        "namespace": ref.namespace,
        "labels": {PLACEMENT_LABEL: label_value(ref.name)},
        "ownerReferences": [owner],
    }
    return {"apiVersion": DECISIONS.api_version, "kind": DECISIONS.kind, "metadata": metadata}
