"""The form of a filter, and of what it yields."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from services.scheduler.candidates import Candidates
from shared.columns import Bools


class Exclusion(NamedTuple):
    """Candidates that one reason excludes: a code for programs, a few words for people, True where it does.

    The words continue "8 targets ...": they are counted and joined into one sentence (shared/model/reasons.py). The
    `detail` has numbers of this round, which are on record with the words and count for nothing.
    """

    reason: str
    message: str
    excluded: Bools
    detail: str = ""


Filter = Callable[[Candidates], Iterator[Exclusion]]
