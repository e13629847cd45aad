"""The form of a filter, and of what it yields."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from services.scheduler.candidates import Candidates
from shared.columns import Bools


class Exclusion(NamedTuple):
    """Candidates that one reason excludes: a code for programs, a few words for people, True where it does.

    The words continue "8 targets ...": they are counted and joined into one sentence (shared/model/reasons.py).
    """

    reason: str
    message: str
    excluded: Bools


Filter = Callable[[Candidates], Iterator[Exclusion]]
