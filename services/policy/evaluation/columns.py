"""The inventory as columns: one array per thing that rules read, over all targets. Pure.

A column is kept current when it is read, not when targets change: then only the rows that changed since are read again.
Numbers and booleans are arrays of their own type; everything else is dictionary-encoded, so that a rule looks at each
distinct value once. A row that has no value (a label that is not there, a target that is gone) is marked in `missing`.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from services.policy.language.variables import TARGET
from shared.aio.lru import Lru
from shared.columns import Coded, Column, Rows
from shared.model.target import Target

MAX_COLUMNS = 512
"""Columns that are kept, least recently used first out."""

MAX_TABLES = 64
"""Functions whose answers a column keeps per distinct value, least recently used first out."""

RowNumbers = npt.NDArray[np.intp]
Read = Callable[[Target, float], Any]
"""Reads one value of a target at a time (seconds since the epoch); None where it has none. May raise `ValueError`."""

_DTYPES: dict[str, type] = {"double": np.float64, "int": np.int64, "bool": np.bool_}


class Words(Coded[Target]):
    """A dictionary-encoded column, with what functions say of each distinct value."""

    @staticmethod
    def key(value: Any) -> Hashable:
        return freeze(value)

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


def freeze(value: Any) -> Hashable:
    """A hashable stand-in that is equal for equal values only. NaN equals itself here, so that it groups."""
    if isinstance(value, dict):
        return tuple(sorted((key, freeze(each)) for key, each in value.items()))
    if isinstance(value, list | tuple):
        return tuple(map(freeze, value))
    if isinstance(value, float) and value != value:
        return ("NaN",)
    return cast(Hashable, value)


def distinguisher(path: Sequence[str]) -> Read:
    """Reads something that tells the values at a path apart, where that is quicker than reading them."""
    alike = TARGET[path[0]].alike
    return reader(path) if alike is None or len(path) > 1 else lambda target, _: alike(target)


def reader(path: Sequence[str]) -> Read:
    """Reads a path of `target`: `("labels", "zone")` is `target.labels["zone"]`."""
    first, *rest = path
    read = TARGET[first].read
    if not rest:
        return read

    def read_path(target: Target, now: float) -> Any:
        value = read(target, now)
        for key in rest:
            if not isinstance(value, Mapping) or key not in value:
                return None
            value = value[key]
        return value

    return read_path


@dataclass
class _Kept:
    column: Column[Target]
    seen: int  # how much of the log of changes it has taken in


class TargetColumns:
    """Targets by row, and the columns over them."""

    def __init__(self) -> None:
        self._targets: Rows[Target] = Rows()
        self._log: list[int] = []  # rows that changed, in order
        self._columns: Lru[Any, _Kept] = Lru(MAX_COLUMNS)

    def update(self, changes: Mapping[str, Target | None]) -> None:
        """Targets by id that are new or changed; None for those that are gone."""
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

    def knows(self, key: Any) -> bool:
        """True if there is a column under the key already."""
        return key in self._columns

    def rows(self, ids: Iterable[str]) -> list[int | None]:
        """The row of each target, None for those that are not here."""
        return [self._targets.of.get(each) for each in ids]

    def target(self, row: int) -> Target:
        """The target at a row that `rows` gave."""
        return self._targets[row]

    def column(self, key: Any, kind: str, read: Read, now: float, *, volatile: bool = False) -> Column[Target]:
        """The column of a kind (`double`, `int`, `bool`) that `read` fills, current.

        It is kept under `key` unless its values depend on the time.
        """
        return self._current(key, lambda each: Column(_DTYPES[kind], each, nullable=True), read, now, volatile)

    def words(self, key: Any, read: Read, now: float, *, volatile: bool = False) -> Words:
        """As `column`, for values of any other kind."""
        column = self._current(key, Words, read, now, volatile)
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
        kept = None if volatile else self._columns.get(key)
        if kept is None:
            kept = _Kept(make(_reading(read, now)), len(self._log))
            kept.column.fill(self._targets.items)
            if not volatile:
                self._columns.put(key, kept)
        elif kept.seen < len(self._log):
            kept.column.read = _reading(read, now)
            kept.column.fill(self._targets.items, sorted(set(self._log[kept.seen :])))
            kept.seen = len(self._log)
        return kept.column


def _reading(read: Read, now: float) -> Callable[[Target], Any]:
    """Reads at that time; an error is no value."""

    def read_now(target: Target) -> Any:
        try:
            return read(target, now)
        except ValueError:
            return None

    return read_now
