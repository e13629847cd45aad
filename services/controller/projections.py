"""Projections of the objects that the controller follows, and which of their changes matter."""

from collections.abc import Callable
from typing import Any

import msgspec

from services.controller.core.observation import KnownDecision
from services.controller.core.rebalance import moved_at
from services.controller.workload import Selected, select
from shared.api import Placement, decode_decision, decode_policy
from shared.hub.names import ATTEMPT_ANNOTATION, PLACEMENT_LABEL, REQUESTER_ANNOTATION
from shared.hub.slices import is_first
from shared.model.policy import PolicyEntry
from shared.model.refs import TargetRef
from shared.model.request import PreviousChoice


class KnownBinding(msgspec.Struct, frozen=True):
    """A PlacementBinding as far as the controller needs it: whose it is, in which target (by id), of which round."""

    placement: str
    target: str
    attempt: int


def same_wish(old: Placement | None, new: Placement | None) -> bool:
    """True if nothing that a round depends on differs between two states of a Placement."""
    return old is not None and new is not None and _wish(old) == _wish(new)


def _wish(placement: Placement) -> tuple[object, ...]:
    metadata = placement.metadata
    requester = metadata.annotations.get(REQUESTER_ANNOTATION)
    identity = (metadata.uid, metadata.generation, metadata.deletion_timestamp, metadata.finalizers)
    return (*identity, metadata.labels, requester)


def policy_of(workspace: str, raw: bytes) -> PolicyEntry:
    """A PlacementPolicy of a workspace."""
    policy = decode_policy(raw)
    metadata = policy.metadata
    return PolicyEntry(
        workspace=workspace,
        name=metadata.name,
        uid=metadata.uid,
        generation=metadata.generation,
        spec=policy.spec,
    )


def decision_of(raw: bytes) -> KnownDecision:
    """A PlacementDecision, or a slice of one."""
    decision = decode_decision(raw)
    status, owners = decision.status, decision.metadata.owner_references
    selected = tuple(
        PreviousChoice(target=TargetRef.of(each.target).id, replicas=each.replicas) for each in status.selected
    )
    reserved = {choice.target: each.reserved for choice, each in zip(selected, status.selected, strict=True)}
    return KnownDecision(
        attempt=status.attempt,
        selected=selected,
        reserved=reserved,
        moved_at=moved_at(status.history),
        revision=status.revision,
        slices=status.slices,
        slice_of="" if is_first(decision.metadata) else owners[0].name if owners else decision.metadata.name,
    )


_LABELLED = msgspec.json.Decoder(dict[str, Any])


def binding_of(raw: bytes) -> KnownBinding:
    """A PlacementBinding."""
    obj = _LABELLED.decode(raw)
    spec, labels = obj.get("spec") or {}, obj["metadata"].get("labels") or {}
    target = spec.get("target") or {}
    attempt = str((obj["metadata"].get("annotations") or {}).get(ATTEMPT_ANNOTATION, ""))
    return KnownBinding(
        placement=(spec.get("placementRef") or {}).get("name") or labels.get(PLACEMENT_LABEL, ""),
        target=TargetRef(workspace=target.get("workspace", ""), name=target.get("name", "")).id,
        attempt=int(attempt) if attempt.isdecimal() else 0,
    )


def workload_of(api_version: str, kind: str) -> Callable[[bytes], Selected]:
    """A decoder for objects of one kind, whose lists do not name it."""

    def decode(raw: bytes) -> Selected:
        return select({**_LABELLED.decode(raw), "apiVersion": api_version, "kind": kind})

    return decode
