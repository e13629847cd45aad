"""Rollouts: which targets may get a revision now, from what their PlacementBindings say. Values in, values out.

Who applies it and who shows it ask the same function. The order of targets never changes with their health, so that
those who act on what they read a moment ago let no more targets have it than those who read now.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from shared.api import PlacementBinding, Rollout, RolloutStep, get_condition, some_of
from shared.hub.names import APPROVED_ANNOTATION, ATTEMPT_ANNOTATION, PAUSED_ANNOTATION
from shared.model.refs import TargetRef
from shared.model.words import RolloutState

Doing = Literal["Healthy", "Progressing", "Failed"]

_ALL_OTHERS = RolloutStep(targets="100%")


class TargetProgress(msgspec.Struct, frozen=True):
    """A target that a placement is decided for: the revision that it has, or is getting, and how it does with it."""

    target: str
    revision: str
    doing: Doing


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a rollout is. `step` counts from 1, and is the last one where it is complete, of `steps`.

    Of the targets in their order, those `behind` have yet to get the revision; the first of them have their `turn` now.
    """

    state: RolloutState
    step: int
    steps: int
    total: int
    updated: int
    healthy: int
    failed: tuple[str, ...]
    behind: tuple[str, ...]
    turn: tuple[str, ...]


def progress(
    rollout: Rollout, revision: str, standings: Sequence[TargetProgress], *, approved: int = 0, paused: bool = False
) -> Progress:
    """How far a rollout of a revision is, where so many of its steps are approved.

    A target gets its turn while fewer than `maxConcurrent` of those before it are not healthy, none fails, and the
    step allows it, which begins when as many are healthy as the one before allowed.
    """
    total, steps = len(standings), (*rollout.steps, _ALL_OTHERS)
    having = [each for each in standings if each.revision == revision]
    behind = tuple(each.target for each in standings if each.revision != revision)
    healthy = sum(each.doing == "Healthy" for each in having)
    failed = tuple(each.target for each in having if each.doing == "Failed")
    goal, number = 0, len(steps)
    state: RolloutState = "Progressing"
    for place, step in enumerate(steps, 1):
        number = place
        if step.approve and place > approved and behind:
            state = "AwaitsApproval"
            break
        goal = max(goal, some_of(step.targets, total))
        if healthy < goal:
            break
    if not behind and healthy == total:
        state, number = "Complete", len(steps)
    elif failed:
        state = "Failed"
    elif paused and behind:
        state = "Paused"
    room = min(goal - len(having), some_of(rollout.max_concurrent, total) - (len(having) - healthy))
    if state in ("Failed", "Paused"):
        room = 0
    return Progress(
        state=state,
        step=number,
        steps=len(steps),
        total=total,
        updated=len(having),
        healthy=healthy,
        failed=failed,
        behind=behind,
        turn=behind[: max(0, room)],
    )


def standings(selected: Iterable[str], bindings: Mapping[str, PlacementBinding], revision: str) -> list[TargetProgress]:
    """The targets that are selected, by their ids and in their order, with what their bindings say.

    One in which nothing runs yet has nothing to wait for: it is getting the revision.
    """
    return [_standing(target, bindings.get(target), revision) for target in selected]


def _standing(target: str, binding: PlacementBinding | None, revision: str) -> TargetProgress:
    if binding is None or not binding.spec.manifests:
        return TargetProgress(target, revision, "Progressing")
    return TargetProgress(target, binding.spec.revision, _doing(binding))


def _doing(binding: PlacementBinding) -> Doing:
    """How a target does with what its binding was written for, and not with what it had before."""
    status, generation = binding.status, binding.metadata.generation
    applied = get_condition(status.conditions, "Applied")
    if status.observed_generation != generation and (applied is None or applied.observed_generation != generation):
        return "Progressing"
    if status.phase == "Ready":
        return "Healthy" if status.observed_generation == generation else "Progressing"
    return "Failed" if status.phase in ("Degraded", "Failed") else "Progressing"


def by_target(name: str, bindings: Iterable[PlacementBinding]) -> dict[str, PlacementBinding]:
    """The bindings of the Placement of this name, by the ids of their targets."""
    return {TargetRef.of(each.spec.target).id: each for each in bindings if each.spec.placement_ref.name == name}


def newest(bindings: Iterable[PlacementBinding]) -> str:
    """The revision that a placement's targets have or wait for, the newest by the attempt; empty where none has any."""
    said = [(0, "")]
    for each in bindings:
        said.append((_attempt(each), each.spec.revision))
        if each.status.awaits is not None:
            said.append((each.status.awaits.attempt, each.status.awaits.revision))
    return max(said)[1]


def _attempt(binding: PlacementBinding) -> int:
    written = binding.metadata.annotations.get(ATTEMPT_ANNOTATION, "")
    return int(written) if written.isdecimal() else 0


def approval(revision: str, step: int) -> str:
    """The annotation by which the steps of a rollout of a revision up to this one are approved."""
    return f"{revision}/{step}"


def approved_steps(annotations: Mapping[str, str], revision: str) -> int:
    """How many steps of a rollout of a revision are approved. What was approved of another revision says nothing."""
    of, _, steps = annotations.get(APPROVED_ANNOTATION, "").partition("/")
    return int(steps) if of == revision and steps.isdecimal() and len(steps) < 4 else 0


def is_paused(annotations: Mapping[str, str]) -> bool:
    """Whether somebody paused the rollouts of a Placement."""
    return bool(annotations.get(PAUSED_ANNOTATION))
