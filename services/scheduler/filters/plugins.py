"""Plugins: filters in other processes, which were asked over the bus."""

from collections.abc import Iterator

from services.scheduler.candidates import Candidates
from services.scheduler.filters.exclusion import Exclusion


def plugins(candidates: Candidates) -> Iterator[Exclusion]:
    """Targets that a plugin has words against."""
    for (kind, name), words in candidates.plugin_answers.items():
        if kind == "filter":
            for message in dict.fromkeys(each for each in words.tolist() if each):
                yield Exclusion(f"Plugin:{name}", str(message)[:80], words == message)
