"""A digest of all that a decision depends on besides the targets, and what it tells of a change."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import msgspec

from shared.api import PlacementSpec
from shared.model.policy import PolicyEntry
from shared.model.request import Cause, CauseCode, OperatorOverride, Requester, ScopeLabels, WorkloadObject

SUSPENDED = "suspended"
"""The digest of a placement that is suspended: when that ends, its input differs, which makes a round."""

UNFOLLOWED = "unfollowed"
"""The digest of a placement whose workspace is followed no more. If it comes back (from a backup, with all that its
objects say), it may be long after what they say was removed from the targets: a round finds out."""

MARKS = frozenset({SUSPENDED, UNFOLLOWED})
"""Digests that stand for no input: whatever the input of a live placement is, it differs from them."""

CHANGES: tuple[CauseCode, ...] = ("SpecChanged", "WorkloadChanged", "PolicyChanged", "OverrideChanged")


def digest(
    spec: PlacementSpec,
    labels: Mapping[str, str],
    requester: Requester | None,
    workload: Sequence[WorkloadObject],
    error: str,
    policies: Iterable[PolicyEntry],
    along: Sequence[str] = (),
    applied: str = "",
    overrides: Sequence[OperatorOverride] = (),
    scope: ScopeLabels = ScopeLabels(),  # noqa: B008 - it is immutable
) -> str:
    """A digest of all that a decision depends on besides the targets, in three parts: own, workload, policies; and a
    fourth for operators' overrides, where there are any. `scope` are the labels by which policies may hold or not.

    `along` are the versions of what goes along with the workload by reference, and `applied` is the digest of what is
    applied: were that worked out otherwise by another version, there is another round, which decides by the new one.
    """
    parts: tuple[object, ...] = (
        (spec, dict(labels), requester),
        (tuple(workload), error, tuple(along), applied),
        (*sorted(map(_state, policies), key=lambda state: state[:2]), *((scope,) if scope != ScopeLabels() else ())),
        *((tuple(overrides),) if overrides else ()),
    )
    return ".".join(hashlib.sha256(msgspec.json.encode(part, order="deterministic")).hexdigest()[:16] for part in parts)


def _state(policy: PolicyEntry) -> tuple[Any, ...]:
    """Which state of a policy it is. Without exemptions and parameters, it is what it was before there were any."""
    state = (policy.workspace, policy.name, policy.uid, policy.generation)
    return (*state, policy.exemptions, policy.params) if policy.exemptions or policy.params else state


def change(old: str, new: str) -> Cause:
    """The kind of change that made one digest into the other; the first part that differs speaks."""
    if old == UNFOLLOWED:
        return Cause.of("Resync", "its workspace is back")
    codes = (
        code
        for code, (before, after) in zip(CHANGES, zip_longest(old.split("."), new.split(".")), strict=False)
        if before != after
    )
    return Cause.of(next(codes, "SpecChanged"))
