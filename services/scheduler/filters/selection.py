"""Selection: the Placement's own choice of targets, by label and by name."""

from collections.abc import Iterator

from services.scheduler.candidates import Candidates
from services.scheduler.filters.exclusion import Exclusion


def not_selected(candidates: Candidates) -> Iterator[Exclusion]:
    """Targets that `targets.selector` does not match, or `targets.names` does not list."""
    wanted = candidates.spec.targets
    if wanted.selector is not None:
        yield Exclusion("NotSelected", "not matching the selector", ~candidates.selected(wanted.selector))
    if wanted.names:
        column = candidates.snapshot.codes("name")
        named = column.among(wanted.names)[column.values[candidates.index]]
        yield Exclusion("NotSelected", "not among the names", ~named)
