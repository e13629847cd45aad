"""What a change would change, on a plane on paper: which placements would be refused, or move."""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from services.cli.offline.objects import Manifest, labels_of
from services.cli.offline.plane import Plane
from services.cli.offline.planner import Answer, Planner
from services.cli.offline.requests import request_from
from services.cli.support.decisions import Place
from shared.api import ParamRef
from shared.model.decision import Choice
from shared.model.policy import Parameters, PolicyEntry
from shared.model.refs import PlacementRef, PolicyRef
from shared.model.request import PreviousChoice, Request

ChangeKind = Literal["Refused", "Held", "Moves", "Resized", "Placed", "Unchanged"]
"""Refused: no target would be left to it; what runs stays. Held: it stays on what is lost, by the brake. Placed: it has
no target now. Resized: other replicas there."""


class PlannedChange(msgspec.Struct, frozen=True):
    """What becomes of one placement; `reasons` are those of the targets that it would have to leave, by id. `cause` is
    why it is decided anew, empty where it is not; `refusal` is why it is refused or held."""

    placement: PlacementRef
    kind: ChangeKind
    before: tuple[Place, ...] = ()
    after: tuple[Place, ...] = ()
    reasons: dict[str, str] = {}
    refusal: str = ""
    cause: str = ""


def with_policies(before: Iterable[PolicyEntry], new: Iterable[PolicyEntry]) -> tuple[PolicyEntry, ...]:
    """The policies in force once `new` are applied: each in place of the one of its workspace and name.

    What was granted of a policy stays, where nothing is granted along with the new one, and so do its parameters where
    the new ones are not there.
    """
    found = {PolicyRef.of(each): each for each in before}
    for each in new:
        known = found.get(PolicyRef.of(each))
        found[PolicyRef.of(each)] = each if known is None else _upon(known, each)
    return tuple(found.values())


def _upon(known: PolicyEntry, new: PolicyEntry) -> PolicyEntry:
    same = known.spec.param_ref is not None and new.params == Parameters() and _object(known) == _object(new)
    return msgspec.structs.replace(
        new, exemptions=new.exemptions or known.exemptions, params=known.params if same else new.params
    )


def _object(policy: PolicyEntry) -> ParamRef | None:
    """The object that a policy takes parameters from."""
    ref = policy.spec.param_ref
    return ref and msgspec.structs.replace(ref, parameter_not_found_action="Deny")


async def changes(
    plane: Plane, placements: Sequence[Manifest], new: Sequence[PolicyEntry], now: float
) -> list[PlannedChange]:
    """What becomes of each placement when policies are applied on a plane, which holds what is decided afterwards.

    All are decided in order, each seeing what those before it took: first with the policies of the plane, from what is
    decided now, then from there with the new ones. So what differs is due to the policies alone. Raises CommandError
    where rules cannot be evaluated at present.
    """
    async with Planner(plane) as planner:

        async def decided() -> list[tuple[Request, Answer]]:
            found = []
            for manifest in placements:
                request = request_from(plane, manifest, now)
                answer = await planner.decide(request, now)
                selected = answer.selected
                reserved = {each.target: each.reserve for each in selected}
                plane.hold(request.placement, labels_of(manifest), reserved)
                plane.previous[request.placement] = tuple(
                    PreviousChoice(target=each.target, replicas=each.replicas) for each in selected
                )
                found.append((request, answer))
            return found

        before = await decided()
        plane.policies = with_policies(plane.policies, new)
        after = await decided()
    return [
        change_of(request, places(old.selected), fresh)
        for (_, old), (request, fresh) in zip(before, after, strict=True)
    ]


def change_of(request: Request, before: tuple[Place, ...], new: Answer, *, is_new: bool = False) -> PlannedChange:
    """What becomes of a placement that has these targets (or `is_new`), by the answer to a request."""
    after, refusal = places(new.selected), new.outcome.proposal.refusal
    left = {target for target, _ in before} - {target for target, _ in after}
    reasons = {target: found[0]["message"] for target, found in new.rejected().items() if target in left}
    kind: ChangeKind = "Unchanged"
    if (before or is_new) and refusal is not None:
        kind = "Refused"
    elif not before and after:
        kind = "Placed"
    elif {target for target, _ in before} != {target for target, _ in after}:
        kind = "Moves"
    elif before != after:
        kind = "Resized"
    cause = f"{request.cause.code}: {request.cause.detail}".removesuffix(": ")
    why = "" if refusal is None else refusal.message
    return PlannedChange(request.placement, kind, before, after, reasons, why, cause)


def places(chosen: Iterable[PreviousChoice | Choice]) -> tuple[Place, ...]:
    """The targets, by their ids."""
    return tuple(sorted((each.target, each.replicas) for each in chosen))
