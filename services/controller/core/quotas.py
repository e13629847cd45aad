"""Which PlacementQuotas are in force, and what each says of itself. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, Literal

import msgspec

from shared.api import PlacementQuota, PlacementQuotaStatus, set_condition
from shared.hub.quantities import amounts, quantities
from shared.model.quota import WorkspaceQuota
from shared.model.resources import Resources

IN_FORCE: Final = "InForce"
MOST_ALIKE: Final = 4
"""Quotas of one workspace that bound the same placements. Each is charged in turn, and one can say what several do."""


class Void(msgspec.Struct, frozen=True):
    """Why a quota is not in force."""

    reason: str
    message: str


def judged(workspace: str, quotas: Iterable[PlacementQuota], most: int) -> Mapping[str, WorkspaceQuota | Void]:
    """The quotas of a workspace by their names: as each holds, or why it does not.

    No more than the `most` oldest of a workspace hold (0: however many), so that what one writes takes nothing of what
    there is for all; and of those that bound the same, the `MOST_ALIKE` oldest. What would bound nobody but whoever
    wrote it, or nobody at all, is refused by admission; what came past that, or was there before, does not hold.
    """
    found: dict[str, WorkspaceQuota | Void] = {}
    alike: Counter[tuple[str, str]] = Counter()
    number = 0
    for quota in sorted(quotas, key=lambda each: (each.metadata.creation_timestamp or "", each.metadata.name)):
        spec, name = quota.spec, quota.metadata.name
        if workspace and not spec.workspace:
            found[name] = Void("BoundsItself", "It names no workspace below its own: nobody bounds themselves.")
        elif spec.workspace and not workspace:
            found[name] = Void("NoSuchWorkspace", "This hub has no workspaces: leave spec.workspace out.")
        elif most and number >= most:
            found[name] = Void("TooMany", f"The {most} oldest quotas of a workspace hold; delete others, or this one.")
        elif alike[spec.workspace, spec.namespace] >= MOST_ALIKE:
            found[name] = Void(
                "TooManyAlike", f"Of quotas that bound the same, the {MOST_ALIKE} oldest hold: one can say it all."
            )
        else:
            number += 1
            alike[spec.workspace, spec.namespace] += 1
            found[name] = WorkspaceQuota(
                workspace=workspace,
                name=name,
                uid=quota.metadata.uid,
                bounds=f"{workspace}:{spec.workspace}" if workspace else "",
                namespace=spec.namespace,
                hard=amounts(spec.hard),
            )
    return found


def status_of(
    quota: PlacementQuota, known: WorkspaceQuota | Void, used: Resources, *, counted: bool, now: str
) -> PlacementQuotaStatus:
    """What a quota says of itself; the same as before where nothing changed. `now` is in RFC 3339."""
    generation = quota.metadata.generation
    status, reason, message = _said(known, counted=counted)
    hard = known.hard if isinstance(known, WorkspaceQuota) else {}
    shown = {name: used.get(name, 0.0) for name in hard} if counted else {}
    return PlacementQuotaStatus(
        observed_generation=generation,
        hard=quantities(hard),
        used=quantities(shown),
        conditions=set_condition(quota.status.conditions, IN_FORCE, status, reason, message, now, generation),
    )


def _said(known: WorkspaceQuota | Void, *, counted: bool) -> tuple[Literal["True", "False", "Unknown"], str, str]:
    if isinstance(known, Void):
        return "False", known.reason, known.message
    if not counted:
        return (
            "Unknown",
            "Counting",
            "What is used of it is being counted; nothing that it bounds is decided meanwhile.",
        )
    whom = f"{known.bounds} and all below it" if known.bounds else "all placements"
    return "True", "InForce", f"It bounds {whom}{f', namespace {known.namespace}' if known.namespace else ''}."
