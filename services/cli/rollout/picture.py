"""What is shown of a rollout. Values in, values out."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from services.cli.support.output import aligned, printable
from shared.api import Placement, PlacementBinding, PlacementDecision, Rollout, get_condition
from shared.hub.names import PAUSED_ANNOTATION
from shared.hub.rollout import (
    Doing,
    approved_steps,
    by_target,
    is_paused,
    newest,
    progress,
    standings,
)
from shared.model.refs import TargetRef
from shared.model.words import RolloutState


class RolloutTarget(msgspec.Struct, frozen=True, rename="camel"):
    """A target of a rollout. `has` says whether it has the revision; `health` is how it does with what it has."""

    name: str
    workspace: str
    revision: str
    has: Literal["Yes", "NextInTurn", "No"]
    health: Doing
    message: str = ""


class RolloutPicture(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A rollout as it is shown, and as -o json has it. `step` counts from 1; the last of `steps` is all others."""

    placement: str
    revision: str
    state: RolloutState
    step: int
    steps: int
    total: int
    updated: int
    healthy: int
    paused: str = ""
    message: str
    targets: tuple[RolloutTarget, ...]


def picture(
    where: str,
    placement: Placement,
    rollout: Rollout,
    decision: PlacementDecision,
    bindings: Iterable[PlacementBinding],
) -> RolloutPicture:
    """The rollout of what a Placement's targets have, or wait for. `where` is how the Placement is called."""
    known, annotations = by_target(placement.metadata.name, bindings), placement.metadata.annotations
    selected = [TargetRef.of(each.target).id for each in decision.status.selected]
    revision = newest(known[target] for target in selected if target in known)
    seen = standings(selected, known, revision)
    found = progress(
        rollout, revision, seen, approved=approved_steps(annotations, revision), paused=is_paused(annotations)
    )
    targets = tuple(
        RolloutTarget(
            name=TargetRef.parse(each.target).name,
            workspace=TargetRef.parse(each.target).workspace,
            revision=each.revision,
            has="No" if each.target in found.behind else "Yes",
            health=each.doing,
            message=_said(known.get(each.target)),
        )
        for each in seen
    )
    turn = set(found.turn)
    targets = tuple(
        msgspec.structs.replace(shown, has="NextInTurn") if each.target in turn else shown
        for each, shown in zip(seen, targets, strict=True)
    )
    made = RolloutPicture(
        placement=where,
        revision=revision,
        state=found.state,
        step=found.step,
        steps=found.steps,
        total=found.total,
        updated=found.updated,
        healthy=found.healthy,
        paused=annotations.get(PAUSED_ANNOTATION, ""),
        message="",
        targets=targets,
    )
    return msgspec.structs.replace(made, message=_sentence(made))


def _said(binding: PlacementBinding | None) -> str:
    """What keeps a target from being healthy, in one sentence; empty where nothing does."""
    if binding is None:
        return "Nothing runs there yet."
    for name in ("Applied", "Available"):
        found = get_condition(binding.status.conditions, name)
        if found is not None and found.status != "True":
            return found.message
    return ""


def _sentence(found: RolloutPicture) -> str:
    """What there is to say of it, and what to do."""
    done = f"{found.updated} of {found.total} targets have it, {found.healthy} of them healthy"
    match found.state:
        case "Complete":
            return f"All {found.total} targets have it and are healthy."
        case "AwaitsApproval":
            return f"Step {found.step} of {found.steps} waits for approval: moorage rollout approve {found.placement}"
        case "Paused":
            return f"{done}. It is paused ({found.paused}): moorage rollout resume {found.placement}"
        case "Failed":
            return f"{done}. It stops until what fails is healthy, or something else is to be placed."
        case _:
            return f"Step {found.step} of {found.steps}: {done}."


def text(found: RolloutPicture) -> str:
    """A rollout for people."""
    rows = [("TARGET", "HAS IT", "HEALTH", "MESSAGE")]
    rows += [(each.name, each.has, each.health, printable(each.message) or "-") for each in found.targets]
    head = f"{found.placement}: revision {found.revision or '-'} is {found.state}. {printable(found.message)}"
    return "\n".join([head, "", *aligned(rows)]) + "\n"
