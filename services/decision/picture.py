"""All reservations as far as they are known, in memory; from reads and news of any age, in any order.

Below each target's prefix the picture is complete up to the newest revision that it knows there: of what is in the
bucket, it lacks only what is newer. Compare-and-set with that revision relies on it, and so nothing here ever puts an
older fact in place of a newer one, or forgets one that may still hold.
"""

from collections.abc import Iterable, Mapping

from shared.broker.table import Changes, Entry
from shared.broker.tokens import split
from shared.model.decision import Reservation
from shared.model.refs import PlacementRef
from shared.model.resources import Resources, add, subtract

SUMMED_AGAIN = 1000
"""Changes after which a sum is made anew: what rounding leaves in it stays far below what `fits` tolerates."""


class Picture:
    """The entries by target's prefix, and where each placement has one."""

    def __init__(self) -> None:
        self._targets: dict[str, _Group] = {}
        self._placements: dict[str, set[str]] = {}
        self._holds: dict[str, Entry[Reservation]] = {}

    def below(self, prefix: str) -> Mapping[str, Entry[Reservation]]:
        """The entries of one target, by key."""
        known = self._targets.get(prefix)
        return {} if known is None else known.entries

    def own(self, prefix: str, placement: PlacementRef) -> Entry[Reservation] | None:
        """The entry of a placement in a target."""
        return self.below(prefix).get(f"{prefix}.{placement.key}")

    def revision(self, prefix: str) -> int:
        """The newest revision of anything below the prefix, deletions among it as far as they are known."""
        known = self._targets.get(prefix)
        return 0 if known is None else known.revision

    def changes(self, prefix: str) -> int:
        """How often something new was learned of what is below the prefix."""
        known = self._targets.get(prefix)
        return 0 if known is None else known.changes

    def total(self, prefix: str) -> Resources:
        """The sum of all that is reserved below the prefix."""
        known = self._targets.get(prefix)
        return {} if known is None else known.total

    def entries(self) -> Iterable[Entry[Reservation]]:
        """Of all targets, also what was released."""
        return (entry for known in self._targets.values() for entry in known.entries.values())

    def held_by(self, placement: PlacementRef) -> set[str]:
        """The prefixes of the targets in which a placement holds something."""
        return {prefix for prefix, entry in self._entries_of(placement) if not entry.value.released_at}

    def newest(self, placement: PlacementRef) -> int:
        """The newest revision of anything that is known of a placement, also of what it released."""
        return max((entry.revision for _, entry in self._entries_of(placement)), default=0)

    def _entries_of(self, placement: PlacementRef) -> Iterable[tuple[str, Entry[Reservation]]]:
        """The entries of a placement, by prefix, also what was released."""
        key = placement.key
        return ((prefix, self._targets[prefix].entries[f"{prefix}.{key}"]) for prefix in self._placements.get(key, ()))

    def holds(self) -> list[Entry[Reservation]]:
        """Capacity that is held for placements to come."""
        return list(self._holds.values())

    def holders(self) -> Iterable[tuple[str, Reservation]]:
        """Every reservation of a placement that holds its place, with the id of its target."""
        for prefix, known in self._targets.items():
            target = "/".join(split(prefix))
            for entry in known.entries.values():
                if not entry.value.released_at and not entry.value.until:
                    yield target, entry.value

    def note(self, entry: Entry[Reservation]) -> None:
        """Learn of an entry; one that is known to be newer stays."""
        prefix, suffix = _parts(entry.key)
        known = self._targets.setdefault(prefix, _Group())
        if entry.key not in known.entries or known.entries[entry.key].revision < entry.revision:
            known.put(entry)
            self._placements.setdefault(suffix, set()).add(prefix)
            if entry.value.until:
                self._holds[entry.key] = entry
            else:
                self._holds.pop(entry.key, None)

    def drop(self, key: str, revision: int) -> None:
        """Learn that there was no such entry at a revision of the bucket; one that is newer stays."""
        prefix, suffix = _parts(key)
        known = self._targets.get(prefix)
        if known is not None and key in known.entries and known.entries[key].revision <= revision:
            known.pop(key)
            placed = self._placements[suffix]
            placed.discard(prefix)
            if not placed:
                del self._placements[suffix]
            self._holds.pop(key, None)

    def learn(self, changes: Changes[Reservation]) -> None:
        """Learn of what changed below a prefix since the newest revision that is known there."""
        for entry in changes.written:
            self.note(entry)
        for raw in changes.deleted:
            self.drop(raw.key, raw.revision)
            self._targets.setdefault(_parts(raw.key)[0], _Group()).reach(raw.revision)

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
        if prefix in self._targets:
            self._targets[prefix].count()
        return [entry for entry in missing if entry.revision > newest]


class _Group:
    """The entries of one target, with what would cost a look at all of them for every write."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry[Reservation]] = {}
        self.revision = 0
        self.changes = 0
        self.total: Resources = {}

    def put(self, entry: Entry[Reservation]) -> None:
        before = self.entries.get(entry.key)
        self.entries[entry.key] = entry
        self.revision = max(self.revision, entry.revision)
        self._changed({} if before is None else before.value.resources, entry.value.resources)

    def pop(self, key: str) -> None:
        before = self.entries.pop(key)
        if before.revision == self.revision:
            self.count()
        self._changed(before.value.resources, {})

    def reach(self, revision: int) -> None:
        """All up to a revision is known, at which there may be a deletion."""
        if revision > self.revision:
            self.revision = revision
            self.changes += 1

    def count(self) -> None:
        """Take the newest entry's revision for that of all: deletions after it are forgotten."""
        self.revision = max((entry.revision for entry in self.entries.values()), default=0)

    def _changed(self, less: Resources, more: Resources) -> None:
        self.changes += 1
        if self.changes % SUMMED_AGAIN:
            self.total = add(subtract(self.total, less), more)
        else:
            self.total = add(*(entry.value.resources for entry in self.entries.values()))


def _parts(key: str) -> tuple[str, str]:
    """A reservation's key as the target's prefix and the placement's suffix."""
    tokens = key.split(".")
    return ".".join(tokens[:2]), ".".join(tokens[2:])
