"""Selection: the Placement's own choice of targets, by label and by name."""

from collections.abc import Iterator

from services.scheduler.candidates import Candidates
from services.scheduler.filters.verdict import Verdict


def not_selected(candidates: Candidates) -> Iterator[Verdict]:
    """Targets that `targets.selector` does not match, or `targets.names` does not list."""
    wanted = candidates.spec.targets
    if wanted.selector is not None:
        yield Verdict("NotSelected", "not matching the selector", ~candidates.selected(wanted.selector))
    if wanted.names:
        column = candidates.snapshot.codes("name")
        named = column.among(wanted.names)[column.values[candidates.index]]
        yield Verdict("NotSelected", "not among the names", ~named)
