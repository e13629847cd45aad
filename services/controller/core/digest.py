"""A digest of all that a decision depends on besides the targets, and what it tells of a change."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from shared.api import PlacementSpec
from shared.model.policy import PolicyEntry
from shared.model.request import Cause, CauseCode, Requester, WorkloadObject

SUSPENDED = "suspended"
"""The digest of a placement that is suspended: when that ends, its input differs, which makes a round."""

UNFOLLOWED = "unfollowed"
"""The digest of a placement whose workspace is followed no more. If it comes back (from a backup, with all that its
objects say), it may be long after what they say was removed from the targets: a round finds out."""

MARKS = frozenset({SUSPENDED, UNFOLLOWED})
"""Digests that stand for no input: whatever the input of a live placement is, it differs from them."""

CHANGES: tuple[CauseCode, CauseCode, CauseCode] = ("SpecChanged", "WorkloadChanged", "PolicyChanged")


def digest(
    spec: PlacementSpec,
    labels: Mapping[str, str],
    requester: Requester | None,
    workload: Sequence[WorkloadObject],
    error: str,
    policies: Iterable[PolicyEntry],
    along: Sequence[str] = (),
    applied: str = "",
) -> str:
    """A digest of all that a decision depends on besides the targets, in three parts: own, workload, policies.

    `along` are the versions of what goes along with the workload by reference, and `applied` is the digest of what is
    applied: were that worked out otherwise by another version, there is another round, which decides by the new one.
    """
    parts = (
        (spec, dict(labels), requester),
        (tuple(workload), error, tuple(along), applied),
        tuple(sorted((policy.workspace, policy.name, policy.uid, policy.generation) for policy in policies)),
    )
    return ".".join(hashlib.sha256(msgspec.json.encode(part, order="deterministic")).hexdigest()[:16] for part in parts)


def change(old: str, new: str) -> Cause:
    """The kind of change that made one digest into the other; the first part that differs speaks."""
    if old == UNFOLLOWED:
        return Cause.of("Resync", "its workspace is back")
    codes = (
        code for code, before, after in zip(CHANGES, old.split("."), new.split("."), strict=False) if before != after
    )
    return Cause.of(next(codes, "SpecChanged"))


def above(workspace: str) -> tuple[str, ...]:
    """A workspace path and its ancestors, the root first: `root`, `root:a`, `root:a:b`."""
    parts = workspace.split(":")
    return tuple(":".join(parts[: length + 1]) for length in range(len(parts)))
