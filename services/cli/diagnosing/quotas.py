"""How much of quotas is used: of those of targets, in each and in all of them, and of those over all clusters. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from shared.model.decision import Reservation
from shared.model.quota import WorkspaceQuota, enclosing, lies_in
from shared.model.resources import Resources, add
from shared.model.target import Target


class QuotaRow(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The use of one resource of a quota, in base units. Without a target: in all targets that have one for it."""

    workspace: str  # its path, as the quota has it
    target: str
    resource: str
    used: float
    hard: float

    @property
    def free(self) -> float:
        """What is left; below 0 where the quota was lowered."""
        return self.hard - self.used


class BoundRow(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The use of one resource of a PlacementQuota, in base units."""

    workspace: str  # that is bounded together with all below it, by its path; empty on a hub without workspaces
    namespace: str  # that alone is bounded; empty: all of them
    quota: str  # its name, and the workspace that it is in
    resource: str
    used: float
    hard: float

    @property
    def free(self) -> float:
        """What is left; below 0 where the quota was lowered."""
        return self.hard - self.used


def bounds(
    quotas: Iterable[WorkspaceQuota], charges: Mapping[str, Iterable[Reservation]], workspace: str | None = None
) -> list[BoundRow]:
    """The use of each PlacementQuota; of a workspace those alone that bound it. `charges` are by the quota's place."""
    found = [
        BoundRow(
            workspace=quota.bounds,
            namespace=quota.namespace,
            quota=str(quota),
            resource=resource,
            used=used.get(resource, 0.0),
            hard=hard,
        )
        for quota in quotas
        if workspace is None or lies_in(workspace, quota.bounds)
        for used in [add(*(each.resources for each in charges.get(quota.place, ())))]
        for resource, hard in quota.hard.items()
    ]
    return sorted(found, key=lambda each: (each.workspace, each.namespace, each.resource, each.quota))


def rows(
    targets: Iterable[Target], reservations: Mapping[str, Iterable[Reservation]], workspace: str | None = None
) -> list[QuotaRow]:
    """The use of each quota, by path, target and resource; of a workspace those alone that it lies in.

    `reservations` are those of each target, by its id, that hold their place.
    """
    paths = None if workspace is None else set(enclosing(workspace))
    found = [
        QuotaRow(workspace=path, target=target.id, resource=resource, used=taken.get(resource, 0.0), hard=hard)
        for target in targets
        for path, most in target.quotas.items()
        if paths is None or path in paths
        for taken in [_taken(reservations.get(target.id, ()), path)]
        for resource, hard in most.items()
    ]
    return sorted(found, key=lambda each: (each.workspace, each.resource, each.target))


def totals(found: Iterable[QuotaRow]) -> list[QuotaRow]:
    """The same for all targets together."""
    summed: defaultdict[tuple[str, str], list[QuotaRow]] = defaultdict(list)
    for each in found:
        summed[each.workspace, each.resource].append(each)
    return [
        QuotaRow(
            workspace=path,
            target="",
            resource=resource,
            used=sum(each.used for each in some),
            hard=sum(each.hard for each in some),
        )
        for (path, resource), some in sorted(summed.items())
    ]


def _taken(reservations: Iterable[Reservation], path: str) -> Resources:
    return add(*(each.resources for each in reservations if lies_in(each.placement.workspace, path)))
