"""The inventory as columns: one array per thing that rules read, over all targets. Pure.

A column is kept current when it is read, not when targets change: then only the rows that changed since are read again.
Numbers and booleans are arrays of their own type; everything else is dictionary-encoded, so that a rule looks at each
distinct value once. A row that has no value (a label that is not there, a target that is gone) is marked in `missing`.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import attrgetter
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from services.policy.language.variables import TARGET, type_at
from shared.aio.lru import Lru
from shared.columns import Coded, Column, Rows
from shared.model.target import Target

MAX_COLUMNS = 512
"""Columns that are kept, least recently used first out."""

MAX_TABLES = 64
"""Functions whose answers a column keeps per distinct value, least recently used first out."""

RowNumbers = npt.NDArray[np.intp]
Read = Callable[[float], Callable[[Target], Any]]
"""What reads one value of targets at a time (seconds since the epoch); None where a target has none. It is called for
every target, so it calls little itself."""

_DTYPES: dict[str, type] = {"double": np.float64, "int": np.int64, "bool": np.bool_}


def freeze(value: Any) -> Hashable:
    """A hashable stand-in that is equal for equal values only. NaN equals itself here, so that it groups."""
    if isinstance(value, str):  # most of what is read
        return value
    if isinstance(value, dict):
        return tuple(sorted((key, freeze(each)) for key, each in value.items()))
    if isinstance(value, list | tuple):
        return tuple(map(freeze, value))
    if isinstance(value, float) and value != value:
        return ("NaN",)
    return cast(Hashable, value)


class Words(Coded[Target]):
    """A dictionary-encoded column, with what functions say of each distinct value."""

    key = staticmethod(freeze)

    def __init__(self, read: Callable[[Target], Any]) -> None:
        super().__init__(read, dtype=np.int32, nullable=True)
        self._tables: Lru[Any, list[Any]] = Lru(MAX_TABLES)

    def table(self, key: Any, look: Callable[[Any], Any]) -> list[Any]:
        """`look` at each distinct value once, kept under `key` and continued as values are added."""
        table = self._tables.get(key)
        if table is None:
            table = []
            self._tables.put(key, table)
        table.extend(look(word) for word in self.distinct[len(table) :])
        return table

    def forget(self) -> None:
        super().forget()
        self._tables.clear()


class Alike(Words):
    """Of values that stand for themselves: hashable, and equal for equal values only."""

    @staticmethod
    def key(value: Any) -> Hashable:
        return cast(Hashable, value)

    def _encode_all(self, values: list[Any]) -> list[Any]:
        codes, distinct, found = self.codes, self.distinct, []
        for value in values:
            code = codes.get(value)  # most values are known
            if code is None:
                if value is None:
                    code = 0
                else:
                    code = codes[value] = len(distinct)
                    distinct.append(value)
            found.append(code)
        return found


def distinguisher(path: Sequence[str]) -> tuple[type[Words], Read]:
    """Reads something that tells the values at a path apart, where that is quicker than reading them; and the column
    for it."""
    alike = TARGET[path[0]].alike
    if alike is None or len(path) > 1:
        return (Alike if type_at(path) == "string" else Words), reader(path)
    return Alike, lambda _: alike


def reader(path: Sequence[str]) -> Read:
    """Reads a path of `target`: `("labels", "zone")` is `target.labels["zone"]`."""
    first, *rest = path
    field = TARGET[first]
    if not rest and field.attribute:
        plain = attrgetter(field.attribute)
        return lambda _: plain
    if field.entry is not None and len(rest) == 1:
        entry = field.entry(rest[0])
        return lambda _: entry
    return lambda now: lambda target: _within(field.read(target, now), rest)


def _within(value: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            return None
        value = value[key]
    return value


@dataclass
class _Kept:
    column: Column[Target]
    seen: int  # how much of the log of changes it has taken in
    now: float | None = None  # the time that its values are of, where they depend on it


class TargetColumns:
    """Targets by row, and the columns over them."""

    def __init__(self) -> None:
        self._targets: Rows[Target] = Rows()
        self._log: list[int] = []  # rows that changed, in order
        self._columns: Lru[Any, _Kept] = Lru(MAX_COLUMNS)
        self._located: tuple[tuple[str, ...], RowNumbers] | None = None
        self.version = 0
        """Goes up with every update that changes something."""

    def update(self, changes: Mapping[str, Target | None]) -> None:
        """Targets by id that are new or changed; None for those that are gone."""
        if changes:
            self._located = None
            self.version += 1
        for name, target in changes.items():
            row = self._targets.remove(name) if target is None else self._targets.put(name, target)
            if row is not None:
                self._log.append(row)
        if len(self._log) > 4 * len(self._targets.items) + 1024:
            self._columns.clear()
            self._log.clear()

    def __len__(self) -> int:
        """How many targets there are."""
        return len(self._targets)

    def knows(self, key: Any, now: float) -> bool:
        """True if there is a column under the key already, of that time where it depends on the time."""
        kept = self._columns.get(key)
        return kept is not None and kept.now in (None, now)

    def rows(self, ids: Sequence[str]) -> RowNumbers:
        """The row of each target, -1 for one that is not here; not to be written to.

        The last answer is kept, since most placements have the same candidates as the one before.
        """
        asked = tuple(ids)
        if self._located is None or self._located[0] != asked:
            rows = np.fromiter(map(self._targets.of.get, asked, repeat(-1)), np.intp, len(asked))
            rows.flags.writeable = False
            self._located = (asked, rows)
        return self._located[1]

    def target(self, row: int) -> Target:
        """The target at a row that `rows` gave."""
        return self._targets[row]

    def column(self, key: Any, kind: str, read: Read, now: float, *, volatile: bool = False) -> Column[Target]:
        """The column of a kind (`double`, `int`, `bool`) that `read` fills, current; it is kept under `key`.

        With `volatile`, its values depend on the time, and it is read anew where `now` is another.
        """
        return self._current(key, lambda each: Column(_DTYPES[kind], each, nullable=True), read, now, volatile)

    def words(self, key: Any, read: Read, now: float, *, volatile: bool = False, make: type[Words] = Words) -> Words:
        """As `column`, for values of any other kind, in a column that is made so."""
        column = self._current(key, make, read, now, volatile)
        assert isinstance(column, Words)
        return column

    def _current(
        self,
        key: Any,
        make: Callable[[Callable[[Target], Any]], Column[Target]],
        read: Read,
        now: float,
        volatile: bool,
    ) -> Column[Target]:
        kept = self._columns.get(key)
        if kept is None or kept.now not in (None, now):
            kept = _Kept(make(read(now)), len(self._log), now if volatile else None)
            kept.column.fill(self._targets.items)
            self._columns.put(key, kept)
        elif kept.seen < len(self._log):
            kept.column.read = read(now)
            kept.column.fill(self._targets.items, sorted(set(self._log[kept.seen :])))
            kept.seen = len(self._log)
        return kept.column
