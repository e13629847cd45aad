"""The gate of rollouts: a change of what runs in a target waits until it is the target's turn.

Nobody hands out turns. Whoever is about to change a target reads the PlacementBindings of all targets of the placement,
and works out whose turn it is; all come to the same, whichever copy they run in.
"""

from collections.abc import Callable

from services.binding import lifecycle
from services.binding.core import identity
from services.binding.records import Facts, Records
from shared.aio.sharing import JointReads
from shared.api import AwaitedRevision, PlacementBinding, some_of
from shared.broker.bus import Retry
from shared.hub.rollout import approved_steps, by_target, is_paused, progress, standings
from shared.model.refs import TargetRef
from shared.pipeline.messages import Assigned

_SOON, _MOST = 1.0, 30.0  # seconds between two looks of a target: of the next in turn, and of those far behind
_STOPPED = 5.0  # seconds, where somebody has to do something first

_TURN = "What changed waits for its turn in the rollout. What was applied before is left as it is until then."


class AwaitsTurn(Retry):
    """It is not the target's turn; what runs there stays as it is."""


class Rollouts:
    """Those of all placements. The bindings of one are read once for all its targets that ask at the same time."""

    def __init__(self, records: Records, clock: Callable[[], float]) -> None:
        self._records = records
        self._bindings = JointReads(records.others)
        self._clock = clock

    async def await_turn(self, message: Assigned, facts: Facts, intended: PlacementBinding) -> None:
        """Return where a target may be changed to what is intended. Raises AwaitsTurn, and what the hub answers."""
        placement, before = facts.placement, facts.binding
        if placement is None or before is None or placement.spec.rollout is None or facts.decision is None:
            return
        revision = intended.spec.revision
        if before.spec.revision == revision or same_content(before, intended):
            return
        rollout, annotations = placement.spec.rollout, placement.metadata.annotations
        bindings = by_target(message.placement.name, await self._bindings.get(message.placement))
        selected = [TargetRef.of(each.target).id for each in facts.decision.status.selected]
        found = progress(
            rollout,
            revision,
            standings(selected, bindings, revision),
            approved=approved_steps(annotations, revision),
            paused=is_paused(annotations),
        )
        if message.target in found.turn:
            return
        waiting = awaiting(before, revision, message.head.attempt, self._clock())
        if waiting is not before:
            await self._records.write_status(message.placement, waiting)
        place = found.behind.index(message.target) if message.target in found.behind else 0
        delay = _SOON * (1 + place // some_of(rollout.max_concurrent, max(1, found.total)))
        if found.state != "Progressing":
            delay = max(delay, _STOPPED)
        raise AwaitsTurn(min(delay, _MOST), f"the rollout of {revision} is {found.state}, and it is not its turn")


def same_content(before: PlacementBinding, intended: PlacementBinding) -> bool:
    """True if nothing changes in the target by what is intended, or nothing was to be there yet."""
    known = {identity(each): each.hash for each in before.spec.manifests}
    return not known or known == {identity(each): each.hash for each in intended.spec.manifests}


def awaiting(binding: PlacementBinding, revision: str, attempt: int, now: float) -> PlacementBinding:
    """The binding whose target waits for its turn to get a revision, decided in this attempt."""
    said = AwaitedRevision(revision=revision, attempt=attempt)
    return lifecycle.left(binding, "AwaitsTurn", _TURN, now, awaits=said)
