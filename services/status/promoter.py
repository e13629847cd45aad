"""Shows on the workload's own object in the workspace how it is in the targets.

It is written by server-side apply, without taking over anything: where somebody else writes the status of an object, as
kube-controller-manager does on Kubernetes, that one goes on to do so. What was written is remembered, so that it is
written once; whoever does not remember writes the same again, which changes nothing.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from services.status.kubernetes import StatusRecords
from services.status.parts import Shown, shown
from services.status.promotion import TargetPart, promoted
from services.status.reports import Reports, parse_ref
from services.status.settings import StatusSettings
from shared.aio.lru import Lru
from shared.hub.kinds import Kinds
from shared.kube.apis import UnknownKind
from shared.kube.errors import ApiError
from shared.kube.resources import Resource, group_of
from shared.model.refs import PlacementRef
from shared.model.report import ObjectHealth, TargetReport

log = logging.getLogger("moorage.status")

_REMEMBERED = 20_000  # workloads; some hundred bytes each
_REFUSED_SECONDS = 300.0
_PLURALS = {
    ("", "Pod"): "pods",
    ("apps", "DaemonSet"): "daemonsets",
    ("apps", "Deployment"): "deployments",
    ("apps", "ReplicaSet"): "replicasets",
    ("apps", "StatefulSet"): "statefulsets",
    ("batch", "Job"): "jobs",
}
"""Of the built-in kinds that show something, so that nobody has to be asked."""


class Promoted(msgspec.Struct, frozen=True):
    """The status that a workload's own object is to show; `ref` names it as reports do."""

    uid: str
    ref: str
    status: dict[str, Any]


class Promoter:
    """`silent` says why nothing is known of the target of a report, `kinds` what a workspace knows."""

    def __init__(
        self,
        settings: StatusSettings,
        *,
        records: StatusRecords,
        reports: Reports,
        kinds: Callable[[str], Kinds],
        silent: Callable[[TargetReport], str],
        clock: Callable[[], float],
    ) -> None:
        self._promotes = settings.promotes
        self._records = records
        self._reports = reports
        self._kinds = kinds
        self._silent = silent
        self._clock = clock
        self._written: Lru[str, bytes] = Lru(_REMEMBERED)  # by uid
        self._refused: Lru[str, float] = Lru(_REMEMBERED)  # by uid: until when it is left alone

    def due(self, ref: PlacementRef, selected: Iterable[str], reports: Iterable[TargetReport]) -> list[Promoted]:
        """What the objects of a placement are to show that they do not show yet, as far as is known here: how they are
        in the selected targets, by their `reports`, and in those where another Placement has them.
        """
        if not self._promotes:
            return []
        by_target = {each.target: each for each in reports}
        here = {target: by_target.get(target) for target in selected}
        found: dict[str, ObjectHealth] = {}
        for report in here.values():
            for each in report.objects if report is not None else ():
                if each.source and each.status is not None:
                    found.setdefault(each.source, each)
        wanted = (self._promoted(ref, each, here) for each in found.values())
        return [each for each in wanted if each is not None and self._is_news(each)]

    async def write(self, ref: PlacementRef, due: Iterable[Promoted]) -> None:
        """Have the objects show it. Raises what the hub answers where another try may help."""
        for each in due:
            await self._write(ref, each)

    async def leave(self, before: TargetReport, after: TargetReport | None) -> None:
        """Have the objects show nothing that are in no target any more, since a report on one says so no more; or what
        is left of them elsewhere by other Placements, which have no news of it.
        """
        if not self._promotes:
            return
        kept = {each.source for each in after.objects} if after is not None else set()
        for each in before.objects:
            told = each.status is not None or each.source in self._written
            if not each.source or not told or each.source in kept:
                continue
            left = self._reports.about(each.source)
            if all(report.placement != before.placement for report in left):
                parts = [self._part(report, each.source) for report in left]
                fields = self._shown(before.placement, each)
                status = promoted(fields, parts) if fields is not None else {}
                await self._write(before.placement, Promoted(each.source, each.ref, status))

    def _shown(self, ref: PlacementRef, obj: ObjectHealth) -> Shown | None:
        api_version, kind, _, _ = parse_ref(obj.ref)
        return shown(self._kinds(ref.workspace).named(api_version, kind))

    def _promoted(
        self, ref: PlacementRef, sample: ObjectHealth, here: dict[str, TargetReport | None]
    ) -> Promoted | None:
        fields = self._shown(ref, sample)
        if fields is None:
            return None
        elsewhere = [each for each in self._reports.about(sample.source) if each.placement != ref]
        parts = [self._part(report, sample.source) for report in (*here.values(), *elsewhere)]
        return Promoted(sample.source, sample.ref, promoted(fields, parts))

    def _part(self, report: TargetReport | None, uid: str) -> TargetPart:
        if report is None:
            return TargetPart(None)
        found = next((each for each in report.objects if each.source == uid), None)
        return TargetPart(found, silent=bool(self._silent(report)))

    def _is_news(self, wanted: Promoted) -> bool:
        if (self._refused.get(wanted.uid) or 0.0) > self._clock():
            return False
        return bool(wanted.status) and self._written.get(wanted.uid) != _encoded(wanted)

    async def _write(self, ref: PlacementRef, wanted: Promoted) -> None:
        api_version, kind, _, name = parse_ref(wanted.ref)
        try:
            resource = await self._resource(ref.workspace, api_version, kind)
            await self._records.write_workload(ref.workspace, resource, name, ref.namespace, wanted.uid, wanted.status)
        except (ApiError, UnknownKind) as error:
            if isinstance(error, ApiError) and (error.transient or error.unauthorized):
                raise
            self._refused.put(wanted.uid, self._clock() + _REFUSED_SECONDS)
            log.info("a workload's status is left alone", extra={"workload": wanted.ref, "error": str(error)})
            return
        if wanted.status:
            self._written.put(wanted.uid, _encoded(wanted))
        else:
            self._written.pop(wanted.uid)

    async def _resource(self, workspace: str, api_version: str, kind: str) -> Resource:
        group = group_of(api_version)
        plural = _PLURALS.get((group, kind))
        if plural is None:
            return await self._records.resource(workspace, api_version, kind)
        return Resource(group, api_version.rpartition("/")[2], plural, kind=kind)


def _encoded(wanted: Promoted) -> bytes:
    return msgspec.json.encode(wanted.status, order="deterministic")
