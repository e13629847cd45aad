"""Filtering: every filter is asked, and a candidate counts under the first exclusion that names it."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from services.scheduler.candidates import Candidates
from services.scheduler.filters import BY_FACTS, FILTERS, OTHERS, Exclusion
from services.scheduler.overriding import Overriding
from services.scheduler.ranking import OVERRIDE
from shared.columns import Bools
from shared.model.decision import Rejection
from shared.model.reasons import Stage


class Filtered(NamedTuple):
    """Whom filters left over, and whom they excluded, and why. Not to be written to: other requests may have it too.

    `exclusions` say it filter by filter; unlike in `rejections`, a candidate is under every reason that it has.
    """

    kept: Bools
    rejections: tuple[Rejection, ...]
    exclusions: tuple[tuple[str, Exclusion], ...]


def filtered(candidates: Candidates, overriding: Overriding | None = None) -> Filtered:
    """What all filters say of the candidates, and first what operators exclude, whose forced need not pass some."""
    everybody = np.ones(len(candidates), np.bool_)
    if overriding is not None:
        said = [(OVERRIDE, each) for each in overriding.exclusions()]
        said += [(name, overriding.passes(name, each)) for name, each in _said(candidates, FILTERS)]
        return _summed(candidates, said, everybody)
    if not candidates.asks_alike:
        return _judge(candidates, FILTERS, everybody)
    first = candidates.alike(("filters", "by facts"), lambda: _judge(candidates, BY_FACTS, everybody))
    then = candidates.same("filters", lambda: _judge(candidates, OTHERS, first.kept))
    return Filtered(then.kept, first.rejections + then.rejections, first.exclusions + then.exclusions)


def _judge(candidates: Candidates, filters: Iterable[str], kept: Bools) -> Filtered:
    """What some filters say, in their order, where others have left these over."""
    return _summed(candidates, _said(candidates, filters), kept)


def _said(candidates: Candidates, filters: Iterable[str]) -> Iterator[tuple[str, Exclusion]]:
    return ((name, each) for name in filters for each in FILTERS[name](candidates))


def _summed(candidates: Candidates, said: Iterable[tuple[str, Exclusion]], kept: Bools) -> Filtered:
    """Exclusions by their filters' names, in their order."""
    rejections: list[Rejection] = []
    exclusions: list[tuple[str, Exclusion]] = []
    for name, each in said:
        # On few targets, count_nonzero is several times as fast as any().
        if np.count_nonzero(each.excluded):
            exclusions.append((name, each))
            rejections += rejected(candidates, each._replace(excluded=each.excluded & kept))
            kept = kept & ~each.excluded
    return Filtered(kept, tuple(rejections), tuple(exclusions))


def rejected(candidates: Candidates, exclusion: Exclusion) -> list[Rejection]:
    """An exclusion on record, if it excludes anybody."""
    ids = tuple(candidates.some("id", exclusion.excluded))
    if not ids:
        return []
    reason, message, _, detail = exclusion
    return [Rejection(stage=Stage.SCHEDULER, reason=reason, message=message, targets=ids, detail=detail)]
