"""PlacementDecisions on the hub: read, and written by compare-and-set; PlacementBindings: read."""

from collections.abc import Sequence
from typing import Any

import msgspec

from services.decision import bound
from services.decision.cluster_requests import ClusterRequests
from services.decision.emission import Emission
from services.decision.memory import Memory, Record
from shared.api import (
    API_VERSION,
    ObjectMeta,
    OwnerReference,
    Placement,
    PlacementDecision,
    PlacementDecisionStatus,
    PlacementSpec,
    decode_binding,
    decode_placement,
    to_dict,
)
from shared.broker.bus import Retry
from shared.hub.decisions import IncompleteDecision, read_decision
from shared.hub.hub import Hub
from shared.hub.names import (
    DECISION_INDEX_LABEL,
    DECISION_KEY_LABEL,
    PLACEMENT_LABEL,
    field_manager,
    label_value,
    slice_name,
)
from shared.hub.resources import BINDINGS, DECISIONS, PLACEMENTS
from shared.hub.retry import MUCH_LATER
from shared.hub.slices import further_names, joined, sliced
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.model.decision import Reservation
from shared.model.refs import Head, PlacementRef, TargetRef

FIELD_MANAGER = field_manager("decision")


class Decisions:
    """The PlacementDecisions of all workspaces."""

    def __init__(self, hub: Hub, emission: Emission | None = None) -> None:
        self._hub = hub
        self._emission = emission
        self.memory = Memory()
        self.requests = ClusterRequests(hub)

    async def read(self, ref: PlacementRef) -> Record | None:
        """What was decided last, as the API server has it now; None where there is nothing."""
        self.memory.forget(ref)
        try:
            found = await read_decision(self._client(ref), ref.name, ref.namespace)
        except IncompleteDecision as error:
            return _record(error.first, whole=False)
        return None if found is None else _record(found)

    async def write(self, ref: PlacementRef, uid: str, status: PlacementDecisionStatus, before: Record | None) -> None:
        """Write the decision for the Placement with this uid, in one request for each hundred targets, if nobody wrote
        since `before`.

        Raises ApiError for which `lost_race` holds if somebody did.
        """
        self.memory.forget(ref)
        client = self._client(ref)
        slices = sliced(status, uid)
        first, *further = (_object(ref, uid, each, index) for index, each in enumerate(slices))
        for each in further:
            try:
                await client.create(DECISIONS, to_dict(each), field_manager=FIELD_MANAGER)
            except ApiError as error:
                if not error.already_exists:  # the same content has the same name
                    raise
        body = to_dict(first)
        if before is None:
            stored = await client.create(DECISIONS, body, field_manager=FIELD_MANAGER, type=PlacementDecision)
        else:
            body["metadata"]["resourceVersion"] = before.version
            stored = await client.replace(DECISIONS, body, field_manager=FIELD_MANAGER, type=PlacementDecision)
        if stored.status.decisions is None:
            raise Retry(MUCH_LATER, "the hub has PlacementDecision as an earlier release had it: upgrade its CRDs")
        if self._emission is not None:
            await self._emission.write(ref.workspace, (*further, first))
        status = msgspec.structs.replace(status, revision=first.status.revision, slices=first.status.slices)
        self.memory.note(ref, Record(uid=uid, version=stored.metadata.resource_version, status=status))
        if before is not None:
            kept = further_names(ref.name, first.status)
            await self._delete(ref, [each for each in further_names(ref.name, before.status) if each not in kept])

    async def forget(self, ref: PlacementRef, known: Record | None = None) -> None:
        """Delete the decision of a placement that goes away; it is fine when there is none.

        Slices that are not `known` of go with the Placement, which owns them.
        """
        self.memory.forget(ref)
        await self._delete(ref, [ref.name, *(further_names(ref.name, known.status) if known else ())])

    async def _delete(self, ref: PlacementRef, names: Sequence[str]) -> None:
        if self._emission is not None and names:
            await self._emission.delete(ref.workspace, ref.namespace, names)
        for name in names:
            try:
                await self._client(ref).delete(DECISIONS, name, ref.namespace)
            except ApiError as error:
                if not error.not_found:
                    raise

    async def put_in_order(self, workspace: str) -> None:
        """Write anew what 0.1 decided in a workspace, in the shape of today; delete slices that belong to no decision.

        Whoever dies between two requests leaves such slices. Those of a newer attempt may be about to become one.
        """
        client = self._hub.at(workspace)
        old = await client.list(DECISIONS, label_selector=f"!{DECISION_KEY_LABEL}", type=PlacementDecision)
        for each in old.items:
            ref, record = _ref(workspace, each.metadata.namespace, each.metadata.name), _record(each)
            try:
                await self.write(ref, record.uid, record.status, record)
            except ApiError as error:
                if not lost_race(error, ref):
                    raise
        further = f"{DECISION_INDEX_LABEL},{DECISION_INDEX_LABEL}!=0"
        for each in (await client.list(DECISIONS, label_selector=further, type=PlacementDecision)).items:
            owners = each.metadata.owner_references
            ref = _ref(workspace, each.metadata.namespace, owners[0].name if owners else each.metadata.name)
            known = await self.read(ref)
            status = known.status if known is not None else None
            if status is not None and status.revision != each.status.revision and status.attempt >= each.status.attempt:
                await self._delete(ref, [each.metadata.name])

    async def emit(self, workspace: str) -> None:
        """Have what SIG Multicluster reads say what is decided in a workspace, where that is switched on."""
        if self._emission is not None:
            await self._emission.put_in_order(workspace)

    async def in_place(self, ref: PlacementRef) -> dict[str, bound.InPlace]:
        """What there is by the PlacementBindings of a placement, by the id of the target."""
        page = await self._client(ref).list(
            BINDINGS, ref.namespace, label_selector=f"{PLACEMENT_LABEL}={label_value(ref.name)}"
        )
        return {bound.target_of(each): bound.in_place(each) for each in map(decode_binding, page.items)}

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
        decisions = await client.list(DECISIONS, type=PlacementDecision)
        page = await client.list(PLACEMENTS)
        placements = {
            (placement.metadata.namespace, placement.metadata.name): placement
            for placement in map(decode_placement, page.items)
        }
        nobody = Placement(spec=PlacementSpec())
        found = []
        for each in bindings:
            placement = placements.get((each.metadata.namespace, each.spec.placement_ref.name), nobody)
            found.append((bound.target_of(each), bound.reserved(each, workspace, placement)))
        for decision in (each.decision for each in joined(decisions.items)):
            metadata, status = decision.metadata, decision.status
            placement = placements.get((metadata.namespace, metadata.name), nobody)
            owner = metadata.owner_references[0].uid if metadata.owner_references else ""
            held = Reservation(
                placement=_ref(workspace, metadata.namespace, metadata.name),
                head=Head(uid=owner, generation=status.observed_generation, attempt=status.attempt),
                resources={},
                labels=placement.metadata.labels,
                orphan=placement.spec.deletion_policy == "Orphan",
                **bound.standing(placement),
            )
            found += [
                (TargetRef.of(each.target).id, msgspec.structs.replace(held, resources=dict(each.reserved)))
                for each in status.selected
            ]
        return found

    def _client(self, ref: PlacementRef) -> Client:
        return self._hub.at(ref.workspace)


def lost_race(error: ApiError, ref: PlacementRef) -> bool:
    """True if a decision was not written since it is not what it was: written by others, or gone."""
    return error.conflict or error.already_exists or error.absent(ref.name)


def _ref(workspace: str, namespace: str, name: str) -> PlacementRef:
    return PlacementRef(workspace=workspace, namespace=namespace, name=name)


def _record(decision: PlacementDecision, *, whole: bool = True) -> Record:
    metadata = decision.metadata
    owner = metadata.owner_references[0].uid if metadata.owner_references else ""
    return Record(uid=owner, version=metadata.resource_version, status=decision.status, whole=whole)


def _object(ref: PlacementRef, uid: str, status: PlacementDecisionStatus, index: int) -> PlacementDecision:
    """A slice of a decision as it is written."""
    owner = OwnerReference(
        api_version=API_VERSION, kind="Placement", name=ref.name, uid=uid, controller=True, block_owner_deletion=True
    )
    name = label_value(ref.name)
    metadata = ObjectMeta(
        name=slice_name(ref.name, status.revision, index),
        namespace=ref.namespace,
        labels={PLACEMENT_LABEL: name, DECISION_KEY_LABEL: name, DECISION_INDEX_LABEL: str(index)},
        owner_references=(owner,) if uid else (),
    )
    return PlacementDecision(metadata=metadata, status=status)
