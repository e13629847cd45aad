"""The inventory as columns: one array per thing that rules read, over all targets. Pure.

A column is built when a rule first reads it, and kept; when targets change, only their rows are read again. Numbers and
booleans are arrays of their own type; everything else is dictionary-encoded, so that a rule looks at each distinct
value once. A row that has no value (a label that is not there, a target that is gone) is marked in `missing`.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from services.policy.language.variables import TARGET
from shared.model.target import Target

MAX_COLUMNS = 512
"""Columns that are kept, least recently used first out."""

MAX_TABLES = 64
"""Functions whose answers a column keeps per distinct value."""

Rows = npt.NDArray[np.intp]
Read = Callable[[Target, float], Any]
"""Reads one value of a target at a time (seconds since the epoch); None where it has none. May raise `ValueError`."""

_DTYPES: dict[str, np.dtype[Any]] = {
    "double": np.dtype(np.float64),
    "int": np.dtype(np.int64),
    "bool": np.dtype(np.bool_),
}


@dataclass
class Column:
    """One value per target. `kind` is `double`, `int`, `bool`, or `coded`: then `values` are indices into `words`."""

    kind: str
    values: npt.NDArray[Any]
    missing: npt.NDArray[np.bool_]
    words: list[Any] = field(default_factory=list)
    codes: dict[Any, int] = field(default_factory=dict)
    seen: int = 0  # how much of the log of changes it has taken in
    tables: dict[Any, list[Any]] = field(default_factory=dict)

    def table(self, key: Any, look: Callable[[Any], Any]) -> list[Any]:
        """`look` at each distinct value once, kept under `key` and continued as values are added."""
        if key not in self.tables and len(self.tables) >= MAX_TABLES:
            self.tables.clear()
        table = self.tables.setdefault(key, [])
        table.extend(look(word) for word in self.words[len(table) :])
        return table

    def code(self, value: Any) -> int:
        """The index of a value in `words`, where it is added when it is new."""
        key = freeze(value)
        code = self.codes.get(key)
        if code is None:
            code = self.codes[key] = len(self.words)
            self.words.append(value)
        return code

    @classmethod
    def empty(cls, kind: str) -> "Column":
        """A column without rows."""
        return cls(kind, np.zeros(0, dtype=_DTYPES.get(kind, np.dtype(np.int32))), np.zeros(0, dtype=bool))

    def grow(self, size: int) -> None:
        """Room for more rows; new rows have no value until they are put."""
        extra = size - len(self.values)
        self.values = np.concatenate([self.values, np.zeros(extra, dtype=self.values.dtype)])
        self.missing = np.concatenate([self.missing, np.ones(extra, dtype=bool)])


def freeze(value: Any) -> Any:
    """A hashable stand-in that is equal for equal values only. NaN equals itself here, so that it groups."""
    if isinstance(value, dict):
        return tuple(sorted((key, freeze(each)) for key, each in value.items()))
    if isinstance(value, list | tuple):
        return tuple(map(freeze, value))
    if isinstance(value, float) and value != value:
        return ("NaN",)
    return value


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


class Inventory:
    """Targets by row, and the columns over them."""

    def __init__(self) -> None:
        self._row: dict[str, int] = {}
        self._targets: list[Target | None] = []
        self._free: list[int] = []
        self._log: list[int] = []
        self._columns: OrderedDict[Any, Column] = OrderedDict()

    def update(self, changes: Mapping[str, Target | None]) -> None:
        """Targets by id that are new or changed; None for those that are gone."""
        for name, target in changes.items():
            row = self._row.get(name)
            if target is None:
                if row is not None:
                    del self._row[name]
                    self._free.append(row)
                    self._set(row, None)
            else:
                if row is None:
                    row = self._free.pop() if self._free else len(self._targets)
                    self._row[name] = row
                self._set(row, target)
        if len(self._log) > 4 * len(self._targets) + 1024:
            self._columns.clear()
            self._log.clear()

    def _set(self, row: int, target: Target | None) -> None:
        if row == len(self._targets):
            self._targets.append(target)
        else:
            self._targets[row] = target
        self._log.append(row)

    def __len__(self) -> int:
        """How many targets there are."""
        return len(self._row)

    def knows(self, key: Any) -> bool:
        """Whether there is a column under the key already."""
        return key in self._columns

    def rows(self, ids: Iterable[str]) -> list[int | None]:
        """The row of each target, None for those that are not here."""
        return [self._row.get(each) for each in ids]

    def target(self, row: int) -> Target:
        """The target at a row that `rows` gave."""
        target = self._targets[row]
        assert target is not None
        return target

    def column(self, key: Any, kind: str, read: Read, now: float, *, volatile: bool = False) -> Column:
        """The column that `read` fills, current; kept under `key` unless its values depend on the time."""
        if volatile:
            return self._filled(Column.empty(kind), read, now, range(len(self._targets)))
        column = self._columns.get(key)
        if column is None or len(column.words) > 2 * len(self._targets) + 64:
            column = self._columns[key] = self._filled(Column.empty(kind), read, now, range(len(self._targets)))
            column.seen = len(self._log)
            if len(self._columns) > MAX_COLUMNS:
                self._columns.popitem(last=False)
            return column
        self._columns.move_to_end(key)
        if column.seen < len(self._log):
            self._filled(column, read, now, sorted(set(self._log[column.seen :])))
            column.seen = len(self._log)
        return column

    def _filled(self, column: Column, read: Read, now: float, rows: Sequence[int]) -> Column:
        column.grow(len(self._targets))
        values = [_value(self._targets[row], read, now) for row in rows]
        at = slice(None) if isinstance(rows, range) else np.array(rows, dtype=np.intp)
        column.missing[at] = [value is None for value in values]
        if column.kind == "coded":
            column.values[at] = [0 if value is None else column.code(value) for value in values]
        else:
            column.values[at] = [0 if value is None else value for value in values]
        return column


def _value(target: Target | None, read: Read, now: float) -> Any:
    if target is None:
        return None
    try:
        return read(target, now)
    except ValueError:
        return None
