"""The inventory as columns: one row per target, one array per fact that somebody asked for.

A column is brought up to date when a target changes, so that no decision waits for that.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import repeat
from typing import Any

import numpy as np

from services.scheduler.assumed import Place
from services.scheduler.taken import Taken, amount_of
from shared.aio.lru import Lru
from shared.columns import Array, Coded, Column, Ints, Rows
from shared.model.decision import Reservation
from shared.model.quota import enclosing
from shared.model.refs import Head, PlacementRef
from shared.model.resources import with_tolerance
from shared.model.target import Target

Extract = Callable[[Target, Any], Any]


def _serves(target: Target, wanted: tuple[str, str]) -> bool:
    api_version, kind = wanted
    group, _, version = api_version.rpartition("/")
    return any(api.kind == kind and api.group == group and version in api.versions for api in target.apis)


def _has_no_namespace(target: Target, wanted: tuple[str, str]) -> bool:
    """Whether a kind is served, and its objects lie in no namespace."""
    group, kind = wanted
    return any(api.kind == kind and api.group == group and not api.namespaced for api in target.apis)


ANYBODYS = ()
"""The claimant of a namespace that a target does not have, or that anybody may claim."""


def _claimant(target: Target, namespace: str) -> object:
    return ANYBODYS if target.terms.per_workspace else target.claims.get(namespace, ANYBODYS)


def _outside_score(target: Target, name: str) -> float:
    score = target.scores.get(name)
    return math.nan if score is None else score.value


def _valid_until(target: Target, name: str) -> float:
    score = target.scores.get(name)
    return math.inf if score is None or score.valid_until is None else score.valid_until


def stable_hash(text: str) -> int:
    """64 bits that are the same in every process and on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


VALUES: dict[str, tuple[type, Extract]] = {
    "id": (object, lambda target, _: target.id),
    "hash": (np.uint64, lambda target, _: stable_hash(target.id)),
    "ready": (np.bool_, lambda target, _: target.ready),
    "unschedulable": (np.bool_, lambda target, _: target.unschedulable),
    "lost_since": (np.float64, lambda target, _: target.lost_since),
    "nodes": (np.float64, lambda target, _: max(target.nodes, 1)),  # one that does not say so counts as one
    "allocatable": (np.float64, lambda target, name: amount_of(target.allocatable, name)),
    "allocatable_or_nan": (np.float64, lambda target, name: amount_of(target.allocatable, name) or math.nan),
    "usage": (np.float64, lambda target, name: _or_nan(target.usage.get(name))),
    "latency": (np.float64, lambda target, origin: target.latency.get(origin, math.nan)),
    "serves": (np.bool_, _serves),
    "has_no_namespace": (np.bool_, _has_no_namespace),
    "score": (np.float64, _outside_score),
    "valid_until": (np.float64, _valid_until),
    "cost_per_cpu_hour": (np.float64, lambda target, _: _or_nan(target.cost_per_cpu_hour)),
    "cost_per_gib_hour": (np.float64, lambda target, _: _or_nan(target.cost_per_gib_hour)),
}
"""Facts that are one number (or truth value, or id) per target: their type, and how they are read."""

CODES: dict[str, Extract] = {
    "label": lambda target, key: target.labels.get(key),
    "name": lambda target, _: target.name,
    "workspace": lambda target, _: target.workspace,
    "taints": lambda target, _: target.taints,
    "terms": lambda target, _: target.terms,
    "claimant": _claimant,
}
"""Facts that many targets share: the column holds small numbers, and `distinct` what they stand for."""


def _unchanged(before: Target | None, target: Target) -> set[str]:
    """Families of which there may be many columns, and whose fact is as it was."""
    if before is None:
        return set()
    same = {
        "quota_left": before.quotas == target.quotas,
        "claimant": before.claims == target.claims and before.terms == target.terms,
    }
    return {family for family, holds in same.items() if holds}


class Snapshot:
    """All targets and reservations that the scheduler knows, ready to be computed with.

    `most_bytes` bounds what the columns take, since placements name labels, resources and origins freely; the column
    that was not read for longest goes first. `taken` is for whoever reads it; what changes it is here.
    """

    def __init__(self, most_bytes: int = 128 << 20, assumed_seconds: float = 0.0) -> None:
        self.taken = Taken(assumed_seconds)
        self._targets: Rows[Target] = Rows()
        self._quotas: Counter[str] = Counter()  # in how many targets each path has one
        self._columns: Lru[tuple[str, Any], Column[Target]] = Lru(most_bytes, weigh=lambda column: column.nbytes)
        self._located: tuple[tuple[str, ...], Ints] | None = None
        self._facts: tuple[Ints, object, dict[Any, Any]] | None = None
        self.changes_taken = 0
        """How often something else was taken than before."""

    def __len__(self) -> int:
        return len(self._targets)

    @property
    def rows(self) -> Mapping[str, int]:
        """The row of each target."""
        return self._targets.of

    @property
    def height(self) -> int:
        """How many rows there are, vacant ones included."""
        return len(self._targets.items)

    @property
    def nbytes(self) -> int:
        """Memory that the columns take."""
        return sum(column.nbytes for _, column in self._columns.items())

    def put(self, target: Target) -> None:
        """Add a target, or replace what was known of it."""
        known = self._targets.of.get(target.id)
        before = None if known is None else self._targets[known]
        if before is None:
            self._located = None
        self._facts = None
        row = self._targets.put(target.id, target)
        self._count_quotas(before, target)
        same = _unchanged(before, target)
        for (family, _), column in self._columns.items():
            if family not in same:
                column.refresh(row, self._targets.items)

    def remove(self, target: str) -> None:
        """Forget a target (not what is reserved there: it may come back)."""
        row = self._targets.of.get(target)
        if row is not None:
            self._located = self._facts = None
            self._count_quotas(self._targets[row], None)
            self._targets.remove(target)

    def locate(self, targets: Sequence[str]) -> Ints:
        """The row of each target, -1 for one that is not here; not to be written to.

        The last answer is kept: most placements ask for the same candidates as the one before, and to compare ids is
        several times as fast as to look each of them up.
        """
        asked = tuple(targets)
        if self._located is None or self._located[0] != asked:
            rows = np.fromiter(map(self._targets.of.get, asked, repeat(-1)), np.intp, len(asked))
            rows.flags.writeable = False
            self._located = (asked, rows)
        return self._located[1]

    def facts(self, rows: Ints, asked: object | None) -> dict[Any, Any]:
        """A place for what is worked out from facts on the targets in these rows alone, for all that is `asked`.

        It is kept for the next request that asks the same of the same rows, until a target changes; not for None.
        """
        if asked is None:
            return {}
        if self._facts is None or self._facts[0] is not rows or self._facts[1] != asked:
            self._facts = (rows, asked, {})
        return self._facts[2]

    def target(self, row: int) -> Target:
        """What the inventory says of the target in a row."""
        return self._targets[row]

    def reserve(self, target: str, reservation: Reservation) -> None:
        """Note what a placement takes in a target, in place of what it took there before; that may be nothing now."""
        self._refresh_taken(self.taken.reserve(target, reservation))

    def release(self, target: str, placement: PlacementRef) -> None:
        """Note that a placement has no reservation in a target any more."""
        self._refresh_taken(self.taken.release(target, placement))

    @contextmanager
    def without(self, placement: PlacementRef) -> Iterator[None]:
        """As if a placement reserved nothing, within the block, which must not await."""
        with self.as_if_left([(target, placement) for target in self.taken.reservations.get(placement, {})]):
            yield

    @contextmanager
    def as_if_left(self, places: Collection[Place]) -> Iterator[None]:
        """As if nothing were reserved in these places, within the block, which must not await."""
        held = [(target, self.taken.reservations[placement][target]) for target, placement in places]
        for target, reservation in held:
            self.release(target, reservation.placement)
        try:
            yield
        finally:
            for target, reservation in held:
                self.reserve(target, reservation)

    def assume(self, placement: PlacementRef, head: Head, asked: Mapping[str, Reservation], now: float) -> None:
        """Count what was proposed for a placement as taken, see `Taken.assume`."""
        self._refresh_taken(self.taken.assume(placement, head, asked, now))

    def expire(self, now: float) -> None:
        """Assume no longer what was proposed too long ago."""
        self._refresh_taken(self.taken.expire(now))

    def used(self, target: Target, resource: str, but: PlacementRef | None = None, *, assumed: bool = True) -> float:
        """What others than Moorage request of a resource in a target, and what placements take, see `Taken.total`."""
        return amount_of(target.allocated, resource) + self.taken.total(target.id, resource, but, assumed=assumed)

    def quotas(self, workspace: str) -> list[str]:
        """The paths that a workspace lies in and that some target has a quota for."""
        return [path for path in enclosing(workspace) if path in self._quotas] if self._quotas else []

    def quota_left(
        self, target: Target, path: str, resource: str, but: PlacementRef | None = None, *, assumed: bool = True
    ) -> float:
        """What a target's quota for a path leaves of a resource beside all placements (`but` one); inf without one.

        Negative where the quota is by now less than what is taken.
        """
        hard = target.quotas.get(path, {}).get(resource, math.inf)
        if hard == math.inf:
            return hard
        return hard - self.taken.total_below(target.id, path, resource, but, assumed=assumed)

    def values(self, family: str, key: Any = None) -> Array:
        """A column of `VALUES`, of `used` or `spare` by resource, of `quota_left` by path and resource.

        `spare` is what is left of a resource for a newcomer, with the tolerance for rounding.
        """
        return self._column(family, key).values

    def codes(self, family: str, key: Any = None) -> Coded[Target]:
        """A column of `CODES`."""
        column = self._column(family, key)
        assert isinstance(column, Coded)
        return column

    def _column(self, family: str, key: Any) -> Column[Target]:
        column = self._columns.get((family, key))
        if column is None:
            column = self._new(family, key)
            column.fill(self._targets.items)
            self._columns.put((family, key), column)
        return column

    def _new(self, family: str, key: Any) -> Column[Target]:
        if family == "used":
            return Column(np.float64, lambda target: self.used(target, key))
        if family == "spare":
            return Column(
                np.float64, lambda target: with_tolerance(amount_of(target.allocatable, key) - self.used(target, key))
            )
        if family == "quota_left":
            return Column(np.float64, lambda target: self.quota_left(target, *key))
        if family in CODES:
            read = CODES[family]
            return Coded(lambda target: read(target, key))
        kind, extract = VALUES[family]
        return Column(kind, lambda target: extract(target, key))

    def _count_quotas(self, old: Target | None, new: Target | None) -> None:
        for each, change in ((old, -1), (new, 1)):
            for path in each.quotas if each is not None else ():
                self._quotas[path] += change
                if not self._quotas[path]:
                    del self._quotas[path]

    def _refresh_taken(self, places: Collection[Place]) -> None:
        if not places:
            return
        self.changes_taken += 1
        used = [column for (family, _), column in self._columns.items() if family in ("used", "spare")]
        left = [(key[0], column) for (family, key), column in self._columns.items() if family == "quota_left"]
        for target, placement in places:
            row = self._targets.of.get(target)
            if row is None:
                continue
            for column in used:
                column.refresh(row, self._targets.items)
            paths = enclosing(placement.workspace) if left else ()
            for path, column in left:
                if path in paths:
                    column.refresh(row, self._targets.items)
