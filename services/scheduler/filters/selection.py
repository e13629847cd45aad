"""Selection: the Placement's own choice of targets, by label and by name."""

from collections.abc import Iterator

from services.scheduler.filters.verdict import Verdict
from services.scheduler.round import Round


def not_selected(round: Round) -> Iterator[Verdict]:
    """Targets that `targets.selector` does not match, or `targets.names` does not list."""
    wanted = round.spec.targets
    if wanted.selector is not None:
        yield Verdict("NotSelected", "not matching the selector", ~round.selected(wanted.selector))
    if wanted.names:
        column = round.snapshot.codes("name")
        yield Verdict("NotSelected", "not among the names", ~column.among(wanted.names)[column.values[round.index]])
