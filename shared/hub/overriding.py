"""Which PlacementOverrides are in force for a placement, in which order, and what each says of itself. Pure."""

from collections.abc import Iterable, Mapping
from typing import Final, Literal

import msgspec

from shared.api import (
    MOST_OVERRIDES,
    PlacementOverride,
    PlacementOverrideSpec,
    PlacementOverrideStatus,
    TargetReference,
    matches,
    set_condition,
)
from shared.kube.times import seconds
from shared.model.refs import PlacementRef
from shared.model.request import OperatorOverride, Permission

ACCEPTED: Final = "Accepted"
FROM_THE_TARGETS: Final = ("Exclude", "Avoid")
"""What whoever may override targets alone can do: drive away. To attract takes a say over the placements."""
_STRONGER: Final = {"Exclude": 0, "Force": 1, "Avoid": 2, "Prefer": 3}
"""Of two that are equal otherwise, the more careful one wins."""


class Authority(msgspec.Struct, frozen=True, kw_only=True):
    """What the author of an override may do where it is: override its placements, or (asked only where not) targets.

    `targets` are names of SyncTargets of that workspace.
    """

    placements: Permission
    targets: Mapping[str, Permission] = {}

    @property
    def unknown(self) -> bool:
        """Whether nobody could say."""
        return "Unknown" in (self.placements, *self.targets.values())

    def allowed(self, spec: PlacementOverrideSpec, workspace: str) -> tuple[TargetReference, ...]:
        """The targets for which the override holds."""
        if self.placements == "Allowed":
            return spec.targets
        if spec.type not in FROM_THE_TARGETS:
            return ()
        return tuple(
            TargetReference(name=each.name, workspace=workspace)
            for each in spec.targets
            if self.targets.get(each.name) == "Allowed" and each.workspace in ("", workspace)
        )


def concerns(spec: PlacementOverrideSpec, ref: PlacementRef, uid: str, labels: Mapping[str, str]) -> bool:
    """Whether an override is about a placement; that it is in its workspace, or above, is for the caller to see."""
    if spec.placement_ref is not None:
        named = (spec.placement_ref.namespace or "default", spec.placement_ref.name)
        return named == (ref.namespace, ref.name) and spec.placement_ref.uid in ("", uid)
    return spec.placement_selector is not None and matches(spec.placement_selector, labels)


def ended(spec: PlacementOverrideSpec, now: float) -> bool:
    """Whether its time is over. `now`: seconds since the epoch."""
    return spec.expires_at is not None and seconds(spec.expires_at) <= now


def in_order(found: Iterable[tuple[str, PlacementOverride, Authority]]) -> tuple[OperatorOverride, ...]:
    """Overrides with their workspaces, as they hold: the strongest first, at most `MOST_OVERRIDES`.

    What is said of targets by whoever may override them alone comes first: nobody forces anything upon them. Then the
    workspace that is further up wins, then the higher priority, then the more careful type; then the name decides.
    """
    ranked = []
    for workspace, override, authority in found:
        spec, targets = override.spec, authority.allowed(override.spec, workspace)
        if not targets:
            continue
        own = authority.placements != "Allowed"
        depth = workspace.count(":")
        rank = (not own, depth, -spec.priority, _STRONGER[spec.type], override.metadata.name)
        holds = OperatorOverride(
            workspace=workspace,
            name=override.metadata.name,
            type=spec.type,
            targets=targets,
            reason=spec.reason,
            expires_at=spec.expires_at or "",
            over_commit=spec.over_commit,
        )
        ranked.append((rank, holds))
    return tuple(holds for _, holds in sorted(ranked, key=lambda pair: pair[0]))[:MOST_OVERRIDES]


def status_of(
    override: PlacementOverride, workspace: str, authority: Authority, author: str, now: float, written: str
) -> PlacementOverrideStatus:
    """What an override says of itself; the same as before where nothing changed. `written` is `now` in RFC 3339."""
    spec, generation = override.spec, override.metadata.generation
    status, reason, message = _judged(spec, workspace, authority, author, now)
    conditions = set_condition(override.status.conditions, ACCEPTED, status, reason, message, written, generation)
    return PlacementOverrideStatus(observed_generation=generation, conditions=conditions)


def _judged(
    spec: PlacementOverrideSpec, workspace: str, authority: Authority, author: str, now: float
) -> tuple[Literal["True", "False", "Unknown"], str, str]:
    if ended(spec, now):
        return "False", "Expired", f"It ended at {spec.expires_at}."
    if not author:
        return (
            "False",
            "NoAuthor",
            "Nobody is recorded as its author: write its spec once more, on a hub with Moorage's admission policies.",
        )
    allowed = authority.allowed(spec, workspace)
    if authority.unknown and len(allowed) < len(spec.targets):
        return "Unknown", "AuthorizationUnknown", f"Nobody could say what {author} may override; it is asked again."
    if allowed and authority.placements == "Allowed":
        return "True", "InForce", f"{author} may override these placements."
    if len(allowed) == len(spec.targets):
        return "True", "InForce", f"{author} may override these targets."
    if allowed:
        names = ", ".join(each.name for each in allowed)
        return "True", "InForceInPart", f"It holds for {names} alone: {author} may not override the others."
    which = "the placements" if spec.placement_ref is None else f"the placement {spec.placement_ref.name}"
    may = f"{author} may not override {which} here (verb override on placements)"
    if spec.type in FROM_THE_TARGETS:
        return "False", "NotAuthorized", f"{may}, nor its targets (verb override on synctargets)."
    return "False", "NotAuthorized", f"{may}; who may override the targets alone can Exclude and Avoid."
