"""Which PlacementQuotas are in force, and what each says of itself. Pure."""

from typing import Final, Literal

from shared.api import PlacementQuota, PlacementQuotaStatus, set_condition
from shared.hub.quantities import amounts, quantities
from shared.model.quota import WorkspaceQuota
from shared.model.resources import Resources

IN_FORCE: Final = "InForce"


def in_force(workspace: str, quota: PlacementQuota) -> WorkspaceQuota | None:
    """A quota of a workspace as it holds; None where it would bound nobody but whoever wrote it, or nobody at all.

    Admission refuses these; what came past it, or was there before, is not in force.
    """
    spec, metadata = quota.spec, quota.metadata
    if bool(workspace) != bool(spec.workspace):
        return None
    return WorkspaceQuota(
        workspace=workspace,
        name=metadata.name,
        uid=metadata.uid,
        bounds=f"{workspace}:{spec.workspace}" if workspace else "",
        namespace=spec.namespace,
        hard=amounts(spec.hard),
    )


def status_of(
    workspace: str, quota: PlacementQuota, used: Resources, *, counted: bool, now: str
) -> PlacementQuotaStatus:
    """What a quota says of itself; the same as before where nothing changed. `now` is in RFC 3339."""
    entry, generation = in_force(workspace, quota), quota.metadata.generation
    status, reason, message = _judged(entry, counted=counted, workspace=workspace)
    hard = entry.hard if entry is not None else {}
    shown = {name: used.get(name, 0.0) for name in hard} if counted else {}
    return PlacementQuotaStatus(
        observed_generation=generation,
        hard=quantities(hard),
        used=quantities(shown),
        conditions=set_condition(quota.status.conditions, IN_FORCE, status, reason, message, now, generation),
    )


def _judged(
    entry: WorkspaceQuota | None, *, counted: bool, workspace: str
) -> tuple[Literal["True", "False", "Unknown"], str, str]:
    if entry is None and workspace:
        return "False", "BoundsItself", "It names no workspace below its own: nobody bounds themselves."
    if entry is None:
        return "False", "NoSuchWorkspace", "This hub has no workspaces: leave spec.workspace out."
    if not counted:
        return (
            "Unknown",
            "Counting",
            "What is used of it is being counted; nothing that it bounds is decided meanwhile.",
        )
    whom = f"{entry.bounds} and all below it" if entry.bounds else "all placements"
    return "True", "InForce", f"It bounds {whom}{f', namespace {entry.namespace}' if entry.namespace else ''}."
