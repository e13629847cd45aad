"""The next step: what is to be done about a placement, given all that is known of it.

Both who looks at one placement closely and who sweeps over all of them by caches alone ask here. The latter do not know
the digest of its input, and may thus miss that this changed, of which events tell; else they come to the same step.
"""

from collections.abc import Collection

import msgspec

from services.controller.core.brake import Braked
from services.controller.core.digest import MARKS, SUSPENDED, change
from services.controller.core.evicting import evicting
from services.controller.core.eviction import (
    Patience,
    Sighting,
    braked,
    clearable,
    closed,
    evicted,
    gone,
    preempted,
    silent,
)
from services.controller.core.in_place import grace_period, in_place
from services.controller.core.observation import KnownDecision, Observation
from services.controller.core.rebalance import asked, may_improve
from services.controller.core.retrying import due
from shared.api import ObjectMeta, Placement
from shared.hub.facts import facts_digest
from shared.hub.moving import MAY_RUN, may_run_there
from shared.hub.names import PLACED_FINALIZER
from shared.model.request import Cause, HeadEntry

ASKED_FOR = Cause.of("Rebalance", "asked for")
NOT_IN_PLACE = Cause.of("Resync", "not in place for long")
_LEFT_WITHIN = 600.0
"""Seconds for which a target that is just being left counts for a budget: one in which nothing ends holds up no other
owner's taint for ever."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Have it placed anew. `leaving` are the selected targets that it has to leave, `in_vain` counts as the head's.

    `looks`: it may move to better targets in this round, since somebody asked for that.
    """

    cause: Cause
    leaving: tuple[str, ...] = ()
    in_vain: int = 0
    looks: bool = False


class Withdraw(msgspec.Struct, frozen=True, kw_only=True):
    """Have undone what was decided, or have it left in its targets, when `orphan`.

    `let_go`: nothing was decided, so the Placement may go at once. `unproven`: all that speaks for it is that the
    cache has no such Placement; what runs is taken away on this word, so the API server itself has to say so first.
    """

    orphan: bool = False
    let_go: bool = False
    unproven: bool = False


class LetGo(msgspec.Struct, frozen=True):
    """Let a Placement that is being deleted go: nothing of it is left."""


class Suspend(msgspec.Struct, frozen=True):
    """Say that it is suspended."""


class Hold(msgspec.Struct, frozen=True):
    """Say why it stays on targets that it would have to leave; empty: that it need not any more. `reason` is one word
    for it, for programs."""

    why: str
    reason: str = ""


class Wait(msgspec.Struct, frozen=True):
    """There is nothing to be done now: somebody else is at work, or its time has not come."""

    reason: str


class Nothing(msgspec.Struct, frozen=True):
    """All is as it should be."""


Step = Place | Withdraw | LetGo | Suspend | Hold | Wait | Nothing


def acts(step: Step) -> bool:
    """Whether something is to be done."""
    return not isinstance(step, Wait | Nothing)


def next_step(seen: Observation) -> Step:
    """What is to be done about a placement now."""
    placement = seen.placement
    if placement is None:
        return _absent(seen)
    if placement.metadata.deletion_timestamp:
        return _deleted(seen, placement)
    if placement.spec.suspend:
        return _suspended(seen, placement)
    return _live(seen, placement)


def is_move(cause: Cause) -> bool:
    """Whether a round is made to leave a target, which is limited: for it is many at once that leave one."""
    return cause.code == "TargetLost"


def is_live(placement: Placement | None) -> bool:
    """Whether it is there and to be placed, not on its way out and not suspended."""
    return placement is not None and not placement.metadata.deletion_timestamp and not placement.spec.suspend


def _absent(seen: Observation) -> Step:
    """It is not there (any more); when it was never withdrawn, or not to the end, it is now."""
    if seen.entry is None or (seen.entry.deleted and seen.clean):
        return Nothing()
    if seen.entry.deleted and not seen.overdue:
        return Wait("its removal is under way")
    return Withdraw(unproven=True)


def _deleted(seen: Observation, placement: Placement) -> Step:
    """It is being deleted: have it undone, and let it go once nothing of it is left."""
    if PLACED_FINALIZER not in placement.metadata.finalizers:
        return Nothing()
    said = seen.entry is not None and seen.entry.deleted and seen.entry.head.uid == placement.metadata.uid
    if said and seen.clean:
        return LetGo()
    if said and not seen.overdue:
        return Wait("its removal is under way")
    return Withdraw(orphan=placement.spec.deletion_policy == "Orphan", let_go=seen.clean)


def _suspended(seen: Observation, placement: Placement) -> Step:
    """It is suspended: its status is to say so."""
    entry = seen.entry
    if entry is None or entry.head.uid != placement.metadata.uid or entry.digest != SUSPENDED:
        return Suspend()
    if placement.status.phase == "Suspended":
        return Nothing()
    return Suspend() if seen.overdue else Wait("its status is being written")


def _live(seen: Observation, placement: Placement) -> Step:
    """It is there and to be placed."""
    entry, decision = seen.entry, seen.decision
    if entry is None or entry.deleted or entry.head.uid != placement.metadata.uid:
        return _place(seen, placement, Cause.of("Created"))
    changed = _changed(entry, placement.metadata, seen.digest)
    if changed is not None:
        return _place(seen, placement, changed)
    if seen.waiting is not None and (new := _newly_preempted(seen, placement, entry)):
        return _place(seen, placement, _why_leave(seen, new))
    if seen.waiting is not None and seen.waiting.head == entry.head:
        if not due(seen.waiting, seen.world_changed_at, seen.now):
            return Wait("it waits for its next try")
        return _place(seen, placement, Cause.of("Waiting", f"attempt {seen.waiting.tries + 1}"))
    if decision is None or decision.attempt != entry.head.attempt:
        if not seen.overdue:
            return Wait("a round is under way")
        return _place(seen, placement, Cause.of("Resync", "no answer to the last request"))
    if _forgotten(seen, placement, decision):
        return _place(seen, placement, Cause.of("Resync", "it was refused, and nobody has it try again"))
    cause = _decided(seen, placement, entry, decision)
    if cause is not None and not (is_move(cause) and not seen.may_move):
        return _place(seen, placement, cause)
    held = _held(seen, placement)
    if held.why != entry.held:
        return held
    return Wait("moves are limited") if cause is not None else Nothing()


def _changed(entry: HeadEntry, metadata: ObjectMeta, digest: str | None) -> Cause | None:
    """What of its input changed since the newest head."""
    new = entry.digest if digest is None else digest
    if new != entry.digest or entry.digest in MARKS:
        return change(entry.digest, new)
    # A spec that was written differently and means the same: its status has to say for which generation it holds.
    return Cause.of("SpecChanged") if entry.head.generation != metadata.generation else None


def _forgotten(seen: Observation, placement: Placement, decision: KnownDecision) -> bool:
    """Whether it was refused and does not wait for another try: that it waits was lost with the bucket."""
    return placement.status.phase == "Unschedulable" and not decision.selected and seen.overdue


def _decided(seen: Observation, placement: Placement, entry: HeadEntry, decision: KnownDecision) -> Cause | None:
    """Why what was decided for the newest head does not hold any more."""
    leaving = _leaving(seen, placement)
    if (asked_to_leave := evicting(placement, entry, decision)) in leaving:
        return Cause.of("Rebalance", f"asked to leave {asked_to_leave}")
    if set(leaving) - set(entry.leaving) or (leaving and seen.overdue):
        return _why_leave(seen, leaving)
    if changed := _otherwise(seen, decision):
        return Cause.of("TargetChanged", _some(changed))
    if seen.overdue and (left_over := _left_over(seen, decision)):
        return Cause.of("Resync", f"left over in {_some(left_over)}")
    should_be_in_place = seen.now - entry.requested_at >= grace_period(seen.settings.in_place_seconds, entry)
    if should_be_in_place and not in_place(placement.status, decision, seen.attempts):
        return NOT_IN_PLACE
    if not decision.selected or _stuck(seen, placement):
        return None  # nothing to be moved, or what looks like a better target is one that is not cut off
    if _looks(seen, placement):
        return ASKED_FOR
    rebalance, pause = placement.spec.stability.rebalance, seen.settings.rebalance_seconds
    if may_improve(rebalance, decision.moved_at, entry.requested_at, seen.world_changed_at, pause, seen.now):
        return Cause.of("Rebalance")
    return None


def _newly_preempted(seen: Observation, placement: Placement, entry: HeadEntry) -> set[str]:
    """The targets that it has to leave for others, which its newest head does not say yet."""
    asked = set(preempted(_selected(seen))) - set(entry.leaving)
    return asked.intersection(_leaving(seen, placement)) if asked else asked


def _why_leave(seen: Observation, leaving: Collection[str]) -> Cause:
    """The cause of a round that is made to leave targets."""
    selected = _selected(seen)
    if not all(selected[each].preempted for each in leaving):
        return Cause.of("TargetLost", _some(leaving))
    return Cause.of("Preempted", ", ".join(f"{each} for {selected[each].preempted}" for each in sorted(leaving)[:5]))


def _place(seen: Observation, placement: Placement, cause: Cause) -> Place:
    in_vain = seen.entry.in_vain + 1 if seen.entry is not None and cause == NOT_IN_PLACE else 0
    looks = _looks(seen, placement)
    return Place(cause=cause, leaving=_leaving(seen, placement), in_vain=in_vain, looks=looks)


def _looks(seen: Observation, placement: Placement) -> bool:
    """Whether its next round, whatever that is for, is to answer a request to look for better targets."""
    request, entry, decision = asked(placement), seen.entry, seen.decision
    if not request or entry is None or entry.deleted or entry.head.uid != placement.metadata.uid:
        return False
    if decision is None or not decision.selected or _stuck(seen, placement):
        return False
    return request != entry.rebalance or decision.attempt < entry.rebalance_since


def _leaving(seen: Observation, placement: Placement) -> tuple[str, ...]:
    """The selected targets that it has to leave now; of those that are well but for their taints, as many as its
    budget allows."""
    selected = _selected(seen)
    leaving = (
        *gone(selected, seen.settings.missing_seconds, seen.now),
        *evicted(
            selected,
            placement.spec.targets.tolerations,
            _patience(seen, placement),
            seen.now,
            breaks_first=placement.spec.stability.breaks_first,
        ),
        *closed(selected),
        *filter(None, (evicting(placement, seen.entry, seen.decision),)),
        *preempted(selected),
    )
    found = tuple(dict.fromkeys(leaving))
    budget = placement.spec.stability.disruption_budget
    if budget is None or seen.decision is None:
        return found
    before = seen.entry.leaving if seen.entry is not None else ()
    willing = sorted((each for each in found if _is_there(selected[each])), key=lambda each: (each not in before, each))
    recently = seen.now - seen.decision.moved_at < _LEFT_WITHIN
    left = _left_over(seen, seen.decision) if recently else []
    now = set(willing[: max(budget - len(left), 0)])
    return tuple(each for each in found if each in now or not _is_there(selected[each]))


def preempted_from(seen: Observation, leaving: Collection[str]) -> dict[str, str]:
    """The targets that a placement may not be in any more, for others, and for whom, in words. Of those that it has,
    these are the ones that it is leaving: its budget may keep it in others for now."""
    kept = _selected(seen).keys() - leaving
    return {each: sight.preempted for each, sight in seen.targets.items() if sight.preempted and each not in kept}


def _is_there(sighting: Sighting) -> bool:
    """Whether it can still run in a target, which it leaves by somebody's will."""
    return sighting.target is not None and not sighting.target.lost_since and not sighting.closed


def _braked(seen: Observation, placement: Placement) -> dict[str, Braked]:
    """The selected targets that it would have to leave, were it not for the brake."""
    return braked(_selected(seen), _patience(seen, placement), seen.now)


def _unproven(seen: Observation, placement: Placement) -> list[str]:
    """The selected targets that are lost, and that it does not leave since it may not run twice."""
    if not placement.spec.stability.breaks_first:
        return []
    return silent(_selected(seen), _patience(seen, placement), seen.now)


def _stuck(seen: Observation, placement: Placement) -> bool:
    """Whether it is on a lost target that it does not leave."""
    return bool(_braked(seen, placement) or _unproven(seen, placement))


def _held(seen: Observation, placement: Placement) -> Hold:
    """Why it does not leave them. No numbers, which change, since many placements say the same."""
    if found := _braked(seen, placement):
        scopes = " and ".join(sorted({why.scope for why in found.values()}))
        return Hold(
            f"It stays on {_some(found)}, which is lost: most targets of {scopes} were lost at once,"
            " as if our own network had failed, so that nothing moves.",
            "TooManyLost",
        )
    if lost := _unproven(seen, placement):
        return Hold(f"It stays on {_some(lost)}, which is lost: {may_run_there(lost[0])}", MAY_RUN)
    return Hold("")


def _selected(seen: Observation) -> dict[str, Sighting]:
    chosen = seen.decision.selected if seen.decision is not None else ()
    return {choice.target: seen.targets[choice.target] for choice in chosen}


def _patience(seen: Observation, placement: Placement) -> Patience:
    """Whoever tolerates less than the operator asks for still waits until the brake can see what else is lost."""
    settings, own = seen.settings, placement.spec.stability.eviction_toleration_seconds
    default = settings.eviction_toleration_seconds
    least = min(default, settings.brake_settle_seconds) if settings.brake_share < 1 else 0.0
    return Patience(default if own is None else float(own), least)


def _otherwise(seen: Observation, decision: KnownDecision) -> list[str]:
    """The selected targets on which facts that decided are not any more as they were. One that is lost is as it was."""
    targets = ((target, seen.targets[target].target, was) for target, was in decision.seen.items() if decision.facts)
    return [
        target
        for target, now, was in targets
        if now is not None and not now.lost_since and facts_digest(now, decision.facts) != was
    ]


def _left_over(seen: Observation, decision: KnownDecision) -> list[str]:
    """The reachable targets that it is still bound in though they are not selected."""
    selected = {choice.target for choice in decision.selected}
    return clearable((target, seen.targets[target]) for target in seen.attempts if target not in selected)


def _some(targets: Collection[str]) -> str:
    return ", ".join(sorted(targets)[:5])
