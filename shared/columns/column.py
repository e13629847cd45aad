"""One value of every item, as an array; plain, or dictionary-encoded where many items share a value."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

T = TypeVar("T")
Array = NDArray[Any]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


class Column(Generic[T]):
    """`values[row]` is what `read` says of the item in that row; of a vacant row it says nothing.

    The array is longer than there are rows. In a `nullable` column, `missing` marks the rows without a value: vacant
    ones, and those whose item gives None. In any other, None is a value, and `missing` is empty.
    """

    def __init__(self, dtype: DTypeLike, read: Callable[[T], Any], *, nullable: bool = False) -> None:
        self.values: Array = np.zeros(0, dtype)
        self.missing: Bools = np.zeros(0, np.bool_)
        self.read = read
        self._nullable = nullable

    @property
    def nbytes(self) -> int:
        """Memory that the arrays take, in bytes."""
        return self.values.nbytes + self.missing.nbytes

    def fill(self, items: Sequence[T | None], rows: Sequence[int] | None = None) -> None:
        """Read the values of some rows (ascending) anew, or of all."""
        rows = range(len(items)) if rows is None else rows
        self._reserve(len(items))
        read = self.read
        if self._nullable:
            chosen = items if len(rows) == len(items) else [items[row] for row in rows]
            found = [None if item is None else read(item) for item in chosen]
            at = _at(rows, items)
            self.missing[at] = [value is None for value in found] if None in found else False
            self.values[at] = self._encode_all(found)
        else:
            present = [row for row in rows if items[row] is not None]
            found = [read(item) for row in present if (item := items[row]) is not None]
            self.values[_at(present, items)] = self._encode_all(found)

    def refresh(self, row: int, items: Sequence[T | None]) -> None:
        """Read the value of one row anew."""
        if self._nullable or row >= len(self.values):
            self.fill(items, (row,))
        elif (item := items[row]) is not None:
            self.values[row] = self.read(item)

    def _encode_all(self, values: list[Any]) -> list[Any]:
        """The values as the array holds them; None is none in a nullable column."""
        return [0 if value is None else value for value in values] if self._nullable and None in values else values

    def _reserve(self, rows: int) -> None:
        """Room for so many rows, and some more so that this is seldom needed."""
        if rows <= len(self.values):
            return
        extra = rows + rows // 2 + 8 - len(self.values)
        self.values = np.concatenate([self.values, np.zeros(extra, self.values.dtype)])
        if self._nullable:
            self.missing = np.concatenate([self.missing, np.ones(extra, np.bool_)])


class Coded(Column[T]):
    """A dictionary-encoded column: `distinct[values[row]]` is the value, and `codes` has the index of each.

    A value is looked up by its `key`, itself unless that is overridden.
    """

    def __init__(self, read: Callable[[T], Any], *, dtype: DTypeLike = np.intp, nullable: bool = False) -> None:
        super().__init__(dtype, read, nullable=nullable)
        self.distinct: list[Any] = []
        self.codes: dict[Hashable, int] = {}

    def fill(self, items: Sequence[T | None], rows: Sequence[int] | None = None) -> None:
        """Read the values of some rows (ascending) anew, or of all."""
        if rows is None:
            self.forget()
        super().fill(items, rows)
        if rows is not None:
            self._tidy(items)

    def refresh(self, row: int, items: Sequence[T | None]) -> None:
        """Read the value of one row anew."""
        if self._nullable or row >= len(self.values):
            self.fill(items, (row,))
        elif (item := items[row]) is not None:
            self.values[row] = self.encode(self.read(item))
            self._tidy(items)

    def encode(self, value: Any) -> int:
        """The index of a value in `distinct`, where it is added when it is new."""
        code = self.codes.setdefault(self.key(value), len(self.distinct))
        if code == len(self.distinct):
            self.distinct.append(value)
        return code

    @staticmethod
    def key(value: Any) -> Hashable:
        """Hashable, and equal for equal values only."""
        return value  # type: ignore[no-any-return]  # what is no key overrides this

    def forget(self) -> None:
        """Drop all distinct values; the rows must be filled then."""
        self.distinct, self.codes = [], {}

    def among(self, values: Iterable[Any]) -> Bools:
        """Which of `distinct` are among these; indexed with `values`, which items have one of them."""
        chosen = np.zeros(max(len(self.distinct), 1), np.bool_)
        for value in values:
            code = self.codes.get(self.key(value))
            if code is not None:
                chosen[code] = True
        return chosen

    def _encode_all(self, values: list[Any]) -> list[Any]:
        """As `encode` does, without a call for each value, and with its key made once."""
        key_of, codes, distinct, nullable = self.key, self.codes, self.distinct, self._nullable
        found = []
        for value in values:
            if nullable and value is None:
                found.append(0)
                continue
            key = key_of(value)
            code = codes.get(key)  # most values are known
            if code is None:
                code = codes[key] = len(distinct)
                distinct.append(value)
            found.append(code)
        return found

    def _tidy(self, items: Sequence[T | None]) -> None:
        if len(self.distinct) > 2 * len(items) + 64:  # most of them are of the past
            self.fill(items)


def _at(rows: Sequence[int], items: Sequence[Any]) -> slice | Ints:
    """An index of these rows; all of them are a slice, which is quicker."""
    return slice(len(items)) if len(rows) == len(items) else np.array(rows, np.intp)
