"""When a placement is looked at again, and why: values in, values out."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from shared.api import PlacementSpec, Toleration, tolerates
from shared.model import (
    Cause,
    CauseCode,
    Head,
    HeadEntry,
    PlacementRef,
    PolicyEntry,
    PreviousChoice,
    Requester,
    Target,
    Waiting,
    WorkloadObject,
)

NO_EXECUTE = "NoExecute"
WAKE_FIRST = 1.0
WAKE_MOST = 30.0


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What the controller needs to know of a PlacementDecision."""

    attempt: int
    selected: tuple[PreviousChoice, ...] = ()


# --- what a request is made of ---------------------------------------------------------------------------------------


def digest(
    spec: PlacementSpec,
    labels: Mapping[str, str],
    requester: Requester | None,
    workload: Sequence[WorkloadObject],
    error: str,
    policies: Iterable[PolicyEntry],
) -> str:
    """A digest of all that a decision depends on besides the targets, in three parts: own, workload, policies."""
    parts = (
        (spec, dict(labels), requester),
        (tuple(workload), error),
        tuple(sorted((policy.workspace, policy.name, policy.uid, policy.generation) for policy in policies)),
    )
    return ".".join(hashlib.sha256(msgspec.json.encode(part, order="deterministic")).hexdigest()[:16] for part in parts)


CHANGES: tuple[CauseCode, CauseCode, CauseCode] = ("SpecChanged", "WorkloadChanged", "PolicyChanged")


def change(old: str, new: str) -> Cause:
    """What kind of change made one digest into the other; the first part that differs speaks."""
    codes = (
        code for code, before, after in zip(CHANGES, old.split("."), new.split("."), strict=False) if before != after
    )
    return Cause(code=next(codes, "SpecChanged"))


def above(workspace: str) -> tuple[str, ...]:
    """A workspace path and its ancestors, the root first: `root`, `root:a`, `root:a:b`."""
    parts = workspace.split(":")
    return tuple(":".join(parts[: length + 1]) for length in range(len(parts)))


def in_force(workspace: str, policies: Iterable[PolicyEntry]) -> list[PolicyEntry]:
    """The policies of a workspace and of those above it."""
    paths = set(above(workspace))
    return [policy for policy in policies if policy.workspace in paths]


# --- when it is looked at again --------------------------------------------------------------------------------------


def evicted(selected: Iterable[Target], tolerations: Sequence[Toleration], patience: float, now: float) -> list[str]:
    """The selected targets that a placement has to leave: unreachable for too long, or tainted NoExecute."""
    return [target.id for target in selected if _must_leave(target, tolerations, patience, now)]


def _must_leave(target: Target, tolerations: Sequence[Toleration], patience: float, now: float) -> bool:
    allowed = min(patience, target.evict_after) if target.evict_after is not None else patience
    if target.lost_since and now - target.lost_since >= allowed:
        return True
    expelling = (taint for taint in target.taints if taint.effect == NO_EXECUTE)
    return any(not any(tolerates(toleration, taint) for toleration in tolerations) for taint in expelling)


def due(waiting: Waiting, world_changed_at: float, now: float) -> bool:
    """Whether a placement that no target fitted is tried again: its time has come, or something changed that may help.

    After a change it waits for as long as it was tried in vain, from one second up to half a minute.
    """
    patience = min(WAKE_FIRST * 2 ** (waiting.tries - 1), WAKE_MOST)
    return now >= waiting.next_try or (world_changed_at > waiting.tried_at and now >= waiting.tried_at + patience)


def wait(
    ref: PlacementRef, head: Head, previous: Waiting | None, now: float, *, contended: bool, first: float, most: float
) -> Waiting:
    """The waiting of a placement that was refused now: longer every time, from `first` up to `most` seconds.

    Who only lost a race for capacity comes again within moments.
    """
    again = previous is not None and previous.head.uid == head.uid
    tries = previous.tries + 1 if previous is not None and again else 1
    since = previous.since if previous is not None and again else now
    delay = min(0.1 * 2**tries, 5.0) if contended else min(first * 2 ** (tries - 1), most)
    return Waiting(placement=ref, head=head, since=since, tries=tries, tried_at=now, next_try=now + delay)


def next_cause(
    entry: HeadEntry | None,
    uid: str,
    new_digest: str,
    decision: Decision | None,
    waiting: Waiting | None,
    leaving: Collection[str],
    left_over: Collection[str],
    *,
    is_due: bool,
    unanswered: bool,
) -> Cause | None:
    """Why a live placement needs another round now, or None when it needs none.

    `leaving` are selected targets that it has to leave, `left_over` reachable targets that it is still bound in though
    they are not selected; `is_due` says that its waiting ended, `unanswered` that its newest request was made long ago.
    """
    if entry is None or entry.deleted or entry.head.uid != uid:
        return Cause(code="Created")
    if entry.digest != new_digest:
        return change(entry.digest, new_digest)
    if waiting is not None and waiting.head == entry.head:
        return Cause(code="Waiting", detail=f"attempt {waiting.tries + 1}") if is_due else None
    if decision is not None and decision.attempt == entry.head.attempt:
        if leaving:
            return Cause(code="TargetLost", detail=_some(leaving))
        return Cause(code="Resync", detail=f"left over in {_some(left_over)}") if left_over and unanswered else None
    return Cause(code="Resync", detail="no answer to the last request") if unanswered else None


def _some(targets: Collection[str]) -> str:
    return ", ".join(sorted(targets)[:5])
