"""Projections of the objects that the controller follows, and which of their changes matter."""

import functools
from collections.abc import Callable
from typing import Any

import msgspec

from services.controller.core.observation import KnownDecision, known_decision
from shared.api import ParamRef, Placement, decode_decision, decode_policy, decode_workloadkind
from shared.hub.kinds import Kinds
from shared.hub.names import (
    ATTEMPT_ANNOTATION,
    EVICT_ANNOTATION,
    PLACEMENT_LABEL,
    REBALANCE_ANNOTATION,
    REQUESTER_ANNOTATION,
)
from shared.hub.requester import requester_of
from shared.hub.slices import is_first
from shared.hub.workload import Selected, select
from shared.kube.resources import group_of
from shared.model.declared import DeclaredKind
from shared.model.policy import PolicyEntry
from shared.model.refs import TargetRef
from shared.model.request import Requester


class KnownBinding(msgspec.Struct, frozen=True):
    """A PlacementBinding as far as the controller needs it: whose it is, in which target (by id), of which round."""

    placement: str
    target: str
    attempt: int
    kinds: frozenset[tuple[str, str]] = frozenset()  # group and kind of what is there


def same_wish(old: Placement | None, new: Placement | None) -> bool:
    """True if nothing that a round depends on differs between two states of a Placement."""
    return old is not None and new is not None and _wish(old) == _wish(new)


def _wish(placement: Placement) -> tuple[object, ...]:
    metadata = placement.metadata
    said = [metadata.annotations.get(name) for name in (REQUESTER_ANNOTATION, REBALANCE_ANNOTATION, EVICT_ANNOTATION)]
    identity = (metadata.uid, metadata.generation, metadata.deletion_timestamp, metadata.finalizers)
    return (*identity, metadata.labels, said)


class KnownPolicy(msgspec.Struct, frozen=True):
    """A PlacementPolicy without exemptions and parameters, and who wrote its spec."""

    entry: PolicyEntry
    author: Requester | None

    @property
    def takes(self) -> "WantedObject | None":
        """The object that it takes parameters from, in its author's name; None where it takes none."""
        ref = self.entry.spec.param_ref
        return None if ref is None else WantedObject(ref, self.author)


class WantedObject(msgspec.Struct, frozen=True):
    """An object that a policy takes parameters from, and in whose name it is read."""

    ref: ParamRef
    author: Requester | None


def policy_of(workspace: str, raw: bytes) -> KnownPolicy:
    """A PlacementPolicy of a workspace."""
    policy = decode_policy(raw)
    metadata = policy.metadata
    entry = PolicyEntry(
        workspace=workspace,
        name=metadata.name,
        uid=metadata.uid,
        generation=metadata.generation,
        spec=policy.spec,
    )
    return KnownPolicy(entry, requester_of(policy))


def kind_of(workspace: str, raw: bytes) -> DeclaredKind:
    """A WorkloadKind of a workspace."""
    declared = decode_workloadkind(raw)
    return DeclaredKind(workspace=workspace, name=declared.metadata.name, spec=declared.spec)


def decision_of(raw: bytes) -> KnownDecision:
    """A PlacementDecision, or a slice of one."""
    decision = decode_decision(raw)
    owners = decision.metadata.owner_references
    of = "" if is_first(decision.metadata) else owners[0].name if owners else decision.metadata.name
    return known_decision(decision.status, of)


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
        kinds=_shared(frozenset((group_of(each["apiVersion"]), each["kind"]) for each in spec.get("manifests") or ())),
    )


@functools.lru_cache(maxsize=1024)
def _shared(kinds: frozenset[tuple[str, str]]) -> frozenset[tuple[str, str]]:
    """The same object for what is the same: most bindings have one of a few sets of kinds."""
    return kinds


def workload_of(api_version: str, kind: str, kinds: Kinds) -> Callable[[bytes], Selected]:
    """A decoder for objects of one kind, whose lists do not name it; `kinds` are those that the workspace knows."""

    def decode(raw: bytes) -> Selected:
        return select({**_LABELLED.decode(raw), "apiVersion": api_version, "kind": kind}, kinds=kinds)

    return decode
