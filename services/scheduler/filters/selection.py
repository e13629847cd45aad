"""Selection: the Placement's own choice of targets, by label and by name."""

from collections.abc import Iterator

import numpy as np

from services.scheduler.filters.verdict import Verdict
from services.scheduler.round import Round


def not_selected(round: Round) -> Iterator[Verdict]:
    """Targets that `targets.selector` does not match, or `targets.names` does not list."""
    wanted = round.spec.targets
    if wanted.selector is not None:
        yield Verdict("NotSelected", "not matching the selector", ~round.selected(wanted.selector))
    if wanted.names:
        column = round.snapshot.codes("name")
        names = frozenset(wanted.names)
        listed = np.array([name in names for name in column.distinct] or [False])
        yield Verdict("NotSelected", "not among the names", ~listed[column.data[round.rows]])
