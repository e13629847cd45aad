"""When a placement is looked at again, and why: values in, values out."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from shared.api import (
    HistoryEntry,
    PlacementSpec,
    PlacementStatus,
    Rebalance,
    Taint,
    Toleration,
    duration_seconds,
    tolerates,
)
from shared.kube.times import seconds
from shared.model.policy import PolicyEntry
from shared.model.refs import Head, PlacementRef, TargetRef
from shared.model.request import Cause, CauseCode, HeadEntry, PreviousChoice, Requester, Waiting, WorkloadObject
from shared.model.resources import Resources, fits
from shared.model.target import Target

NO_EXECUTE = "NoExecute"
WAKE_FIRST = 1.0
WAKE_MOST = 30.0
APPLIED = frozenset({"Applied", "Ready", "Degraded"})  # phases of a target in which everything is there
UNDECIDED = frozenset({"Pending", "Scheduling", "Unschedulable"})
DOUBLINGS = 16  # of a pause; by then every pause is at its bound
SETTLING_DOUBLINGS = 4
NOT_IN_PLACE = Cause(code="Resync", detail="not in place for long")


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What the controller needs to know of a PlacementDecision."""

    attempt: int
    selected: tuple[PreviousChoice, ...] = ()
    reserved: dict[str, Resources] = {}  # by selected target
    moved_at: float = 0.0


def moved_at(history: Iterable[HistoryEntry]) -> float:
    """When a placement last left a target for another, in seconds since the epoch; 0 when its history knows of none.

    `history` begins with the newest change. To be placed at first, to grow or to shrink is no move.
    """
    moves = (entry for entry in history if set(entry.from_) - set(entry.to) and set(entry.to) - set(entry.from_))
    newest = next(moves, None)
    return seconds(newest.when) if newest is not None else 0.0


# --- what a request is made of ---------------------------------------------------------------------------------------


def digest(
    spec: PlacementSpec,
    labels: Mapping[str, str],
    requester: Requester | None,
    workload: Sequence[WorkloadObject],
    error: str,
    policies: Iterable[PolicyEntry],
    along: Sequence[str] = (),
) -> str:
    """A digest of all that a decision depends on besides the targets, in three parts: own, workload, policies.

    `along` are the versions of what goes along with the workload by reference.
    """
    parts = (
        (spec, dict(labels), requester),
        (tuple(workload), error, tuple(along)),
        tuple(sorted((policy.workspace, policy.name, policy.uid, policy.generation) for policy in policies)),
    )
    return ".".join(hashlib.sha256(msgspec.json.encode(part, order="deterministic")).hexdigest()[:16] for part in parts)


SUSPENDED = "suspended"
"""The digest of a placement that is suspended: when that ends, its input differs, which makes a round."""


def suspended(entry: HeadEntry | None, uid: str) -> bool:
    """Whether a head says that this very placement is suspended."""
    return entry is not None and entry.head.uid == uid and entry.digest == SUSPENDED


UNFOLLOWED = "unfollowed"
"""The digest of a placement whose workspace is followed no more. If it comes back (from a backup, with all that its
objects say), it may be long after what they say was removed from the targets: a round finds out."""


CHANGES: tuple[CauseCode, CauseCode, CauseCode] = ("SpecChanged", "WorkloadChanged", "PolicyChanged")


def change(old: str, new: str) -> Cause:
    """What kind of change made one digest into the other; the first part that differs speaks."""
    if old == UNFOLLOWED:
        return Cause(code="Resync", detail="its workspace is back")
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


Expelling = Mapping[Taint, float]
"""The NoExecute taints of a target, and since when each was seen there, in seconds since the epoch."""


def expelling(target: Target, known: Expelling, now: float) -> dict[Taint, float]:
    """The NoExecute taints of a target; those that were not `known` are seen since now."""
    return {taint: known.get(taint, now) for taint in target.taints if taint.effect == NO_EXECUTE}


def evicted(
    selected: Iterable[tuple[Target, Expelling]], tolerations: Sequence[Toleration], patience: float, now: float
) -> list[str]:
    """The selected targets that a placement has to leave: unreachable for too long, or tainted NoExecute."""
    return [
        target.id
        for target, taints in selected
        if _too_long_lost(target, patience, now)
        or any(_expels(taint, since, tolerations, now) for taint, since in taints.items())
    ]


def _too_long_lost(target: Target, patience: float, now: float) -> bool:
    allowed = min(patience, target.evict_after) if target.evict_after is not None else patience
    return target.lost_since > 0 and now - target.lost_since >= allowed


def _expels(taint: Taint, since: float, tolerations: Sequence[Toleration], now: float) -> bool:
    """As Kubernetes has it: the first toleration that matches a taint says for how long."""
    found = next((toleration for toleration in tolerations if tolerates(toleration, taint)), None)
    if found is None:
        return True
    return found.toleration_seconds is not None and now - since >= max(found.toleration_seconds, 0)


def may_improve(
    rebalance: Rebalance, moved_at: float, looked_at: float, world_changed_at: float, pause: float, now: float
) -> bool:
    """Whether it is time to look for better targets for a healthy placement.

    It wants to move, its last move is long enough ago, and since it was last looked at, at least `pause` seconds ago,
    something changed.
    """
    if rebalance.type != "WhenBetter" or world_changed_at <= looked_at or now - looked_at < pause:
        return False
    return now - moved_at >= duration_seconds(rebalance.cooldown)


def settled(status: PlacementStatus, decision: Decision, attempts: Mapping[str, int]) -> bool:
    """Whether what was decided is in place: in each selected target there is a PlacementBinding of this round
    (`attempts` by target), and the Placement's status says that it is applied.

    Otherwise somebody is still at work, or the message that told him was lost.
    """
    if not decision.selected or status.phase in UNDECIDED:
        return False
    applied = {TargetRef.of(each).id for each in status.targets if each.phase in APPLIED}
    return all(
        choice.target in applied and attempts.get(choice.target) == decision.attempt for choice in decision.selected
    )


def settling(first: float, head: HeadEntry) -> float:
    """Seconds that a placement has to be in place once a round was asked for.

    Twice as many after each round in vain, up to 16 times `first`; and up to half as many again, by a hash of its uid,
    so that many placements do not come all at once.
    """
    share = int.from_bytes(hashlib.blake2b(head.head.uid.encode(), digest_size=2).digest(), "big") / 0x10000
    return first * (1 << min(head.in_vain, SETTLING_DOUBLINGS)) * (1 + share / 2)


def due(waiting: Waiting, world_changed_at: float, now: float) -> bool:
    """Whether a placement that no target fitted is tried again: its time has come, or something changed that may help.

    After a change it waits for as long as it was tried in vain, from one second up to half a minute.
    """
    patience = min(WAKE_FIRST * 2 ** min(waiting.tries - 1, DOUBLINGS), WAKE_MOST)
    return now >= waiting.next_try or (world_changed_at > waiting.tried_at and now >= waiting.tried_at + patience)


def gives_back(old: Decision, new: Decision) -> bool:
    """Whether a placement takes less than before of a target that it stays on, which may help those that wait.

    What it leaves is free only once it is cleared there: when its PlacementBinding is gone.
    """
    return any(not fits(old.reserved[target], new.reserved[target]) for target in old.reserved.keys() & new.reserved)


def wait(
    ref: PlacementRef,
    head: Head,
    previous: Waiting | None,
    asked_at: float,
    now: float,
    *,
    contended: bool,
    first: float,
    most: float,
) -> Waiting:
    """The waiting of a placement that was refused now: longer every time, from `first` up to `most` seconds.

    Who only lost a race for capacity comes again within moments. The round was asked for at `asked_at`: what changed
    since then it may have been too early to see.
    """
    again = previous is not None and previous.head.uid == head.uid
    tries = previous.tries + 1 if previous is not None and again else 1
    since = previous.since if previous is not None and again else now
    doublings = min(tries, DOUBLINGS)
    delay = min(0.1 * 2**doublings, 5.0) if contended else min(first * 2 ** (doublings - 1), most)
    return Waiting(placement=ref, head=head, since=since, tries=tries, tried_at=asked_at, next_try=now + delay)


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
    unsettled: bool = False,
    may_improve: bool = False,
) -> Cause | None:
    """Why a live placement needs another round now, or None when it needs none.

    `leaving` are selected targets that it has to leave, `left_over` reachable targets that it is still bound in though
    they are not selected; `is_due` says that its waiting ended, `unanswered` that its newest request was made long ago,
    `unsettled` that what came of it should be in place by now and is not, `may_improve` that it is time to look for
    better targets.
    """
    if entry is None or entry.deleted or entry.head.uid != uid:
        return Cause(code="Created")
    if entry.digest != new_digest:
        return change(entry.digest, new_digest)
    if waiting is not None and waiting.head == entry.head:
        return Cause(code="Waiting", detail=f"attempt {waiting.tries + 1}") if is_due else None
    if decision is not None and decision.attempt == entry.head.attempt:
        if set(leaving) - set(entry.leaving) or (leaving and unanswered):
            return Cause(code="TargetLost", detail=_some(leaving))
        if left_over and unanswered:
            return Cause(code="Resync", detail=f"left over in {_some(left_over)}")
        if unsettled:
            return NOT_IN_PLACE
        return Cause(code="Rebalance") if may_improve else None
    return Cause(code="Resync", detail="no answer to the last request") if unanswered else None


def _some(targets: Collection[str]) -> str:
    return ", ".join(sorted(targets)[:5])
