"""What is placed in each target, by the reports, and of which kinds that is."""

from collections import Counter

from services.status.reports import kind_of
from shared.model.report import TargetReport

GroupKind = tuple[str, str]
"""API version and kind."""


class Placed:
    """The reports by target. What a change costs does not depend on how much is in the target."""

    def __init__(self) -> None:
        self._reports: dict[str, dict[str, TargetReport]] = {}
        self._kinds: dict[str, Counter[GroupKind]] = {}  # in how many objects of a target
        self._target_of: dict[str, str] = {}

    @property
    def targets(self) -> list[str]:
        """Those in which something is placed."""
        return list(self._reports)

    def is_used(self, target: str) -> bool:
        """Whether something is placed in a target."""
        return target in self._reports

    def target_of(self, key: str) -> str | None:
        """Which target the report of a key is on, as it was last known."""
        return self._target_of.get(key)

    def reports(self, target: str) -> list[TargetReport]:
        """All reports on a target."""
        return list(self._reports.get(target, {}).values())

    def keys(self, target: str) -> list[str]:
        """Their keys."""
        return list(self._reports.get(target, ()))

    def kinds(self, target: str) -> set[GroupKind]:
        """The kinds of all objects in a target."""
        return set(self._kinds.get(target, ()))

    def put(self, key: str, report: TargetReport) -> None:
        """A report is there, in place of the one under its key before."""
        self.drop(key)
        self._target_of[key] = report.target
        self._reports.setdefault(report.target, {})[key] = report
        self._kinds.setdefault(report.target, Counter()).update(_kinds_of(report))

    def drop(self, key: str) -> TargetReport | None:
        """A report is gone; what it was."""
        target = self._target_of.pop(key, None)
        if target is None:
            return None
        last = self._reports[target].pop(key)
        kinds = self._kinds[target]
        for kind in _kinds_of(last):
            kinds[kind] -= 1
            if not kinds[kind]:
                del kinds[kind]
        if not self._reports[target]:
            del self._reports[target], self._kinds[target]
        return last


def _kinds_of(report: TargetReport) -> list[GroupKind]:
    return [kind_of(each.ref) for each in report.objects]
