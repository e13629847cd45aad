"""All reservations as far as they are known, in memory; from reads and news of any age, in any order.

Below each target's prefix the picture is complete up to the newest revision that it knows there: of what is in the
bucket, it lacks only what is newer. Compare-and-set with that revision relies on it, and so nothing here ever puts an
older fact in place of a newer one, or forgets one that may still hold.
"""

from collections.abc import Iterable

from shared.broker.table import Entry
from shared.broker.tokens import split
from shared.model.decision import Reservation
from shared.model.refs import PlacementRef


class Picture:
    """The entries by target's prefix, and where each placement holds something."""

    def __init__(self) -> None:
        self._targets: dict[str, dict[str, Entry[Reservation]]] = {}
        self._placements: dict[str, set[str]] = {}

    def below(self, prefix: str) -> dict[str, Entry[Reservation]]:
        """The entries of one target, by key; not to be changed."""
        return self._targets.get(prefix, {})

    def own(self, prefix: str, placement: PlacementRef) -> Entry[Reservation] | None:
        """The entry of a placement in a target."""
        return self.below(prefix).get(f"{prefix}.{placement.key}")

    def revision(self, prefix: str) -> int:
        """The newest revision of anything below the prefix."""
        return max((entry.revision for entry in self.below(prefix).values()), default=0)

    def entries(self) -> Iterable[Entry[Reservation]]:
        """Of all targets, also what was released."""
        return (entry for known in self._targets.values() for entry in known.values())

    def held_by(self, placement: PlacementRef) -> set[str]:
        """The prefixes of the targets in which a placement holds something."""
        return set(self._placements.get(placement.key, ()))

    def holders(self) -> Iterable[tuple[str, Reservation]]:
        """Every reservation that holds its place, with the id of its target."""
        for prefix, entries in self._targets.items():
            target = "/".join(split(prefix))
            yield from ((target, entry.value) for entry in entries.values() if not entry.value.released_at)

    def note(self, entry: Entry[Reservation]) -> None:
        """Learn of an entry; one that is known to be newer stays."""
        prefix, suffix = _parts(entry.key)
        known = self._targets.setdefault(prefix, {})
        if entry.key in known and known[entry.key].revision > entry.revision:
            return
        known[entry.key] = entry
        self._hold(prefix, suffix, holds=not entry.value.released_at)

    def drop(self, key: str, revision: int) -> None:
        """Learn that there was no such entry at a revision of the bucket; one that is newer stays."""
        prefix, suffix = _parts(key)
        known = self._targets.get(prefix, {})
        if key in known and known[key].revision <= revision:
            del known[key]
            self._hold(prefix, suffix, holds=False)

    def merge(self, prefix: str, read: Iterable[Entry[Reservation]]) -> list[Entry[Reservation]]:
        """Learn of all entries below a prefix as somebody read them, which may have been a while ago.

        What the read lacks is gone where it is not newer than the read. Returns what is: it was written since, or
        written and deleted, which only whoever asks for it alone can tell.
        """
        found = {entry.key: entry for entry in read}
        newest = max((entry.revision for entry in found.values()), default=0)
        for entry in found.values():
            self.note(entry)
        missing = [entry for key, entry in self.below(prefix).items() if key not in found]
        for entry in missing:
            self.drop(entry.key, newest)
        return [entry for entry in missing if entry.revision > newest]

    def _hold(self, prefix: str, suffix: str, *, holds: bool) -> None:
        """Note whether a placement holds something in a target."""
        placed = self._placements.setdefault(suffix, set())
        (placed.add if holds else placed.discard)(prefix)
        if not placed:
            del self._placements[suffix]


def _parts(key: str) -> tuple[str, str]:
    """A reservation's key as the target's prefix and the placement's suffix."""
    tokens = key.split(".")
    return ".".join(tokens[:2]), ".".join(tokens[2:])
