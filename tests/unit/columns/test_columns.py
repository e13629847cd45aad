"""Columns follow their items: however they came to it, they hold what was read from those that are there."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.columns import Coded, Column, Rows

Item = dict[str, Any]
changes = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.none() | st.sampled_from((None, 1, 2, 3)).map(lambda value: {"n": value})),
    max_size=30,
)


def of(item: Item) -> Any:
    return item["n"]


def held(column: Column[Item], row: int) -> Any:
    """What a nullable column says of a row."""
    if column.missing[row]:
        return None
    value = column.values[row].item()
    return column.distinct[value] if isinstance(column, Coded) else value


@given(changes, st.booleans(), st.booleans())
def test_a_column_that_followed_every_change_equals_a_new_one(history, coded: bool, at_once: bool) -> None:
    rows: Rows[Item] = Rows()

    def made() -> Column[Item]:
        return Coded(of, nullable=True) if coded else Column(np.int64, of, nullable=True)

    column, changed = made(), set()
    for name, item in history:
        row = rows.remove(name) if item is None else rows.put(name, item)
        if row is None:
            continue
        changed.add(row)
        if at_once:
            column.refresh(row, rows.items)
    if not at_once:
        column.fill(rows.items, sorted(changed))
    new = made()
    new.fill(rows.items)
    present = {name: item for name, item in history if name in rows.of}
    assert {name: held(column, row) for name, row in rows.of.items()} == {
        name: of(item) for name, item in present.items()
    }
    for row in range(len(rows.items)):
        assert held(column, row) == held(new, row)
    assert len(rows) == len(present)


def test_the_row_of_an_item_that_went_is_given_to_the_next() -> None:
    rows: Rows[str] = Rows()
    assert [rows.put(name, name.upper()) for name in "abc"] == [0, 1, 2]
    assert rows.remove("b") == 1
    assert rows.remove("b") is None
    assert rows.put("d", "D") == 1
    assert rows.put("a", "again") == 0
    assert (rows[0], rows[1], rows.items) == ("again", "D", ["again", "D", "C"])
    assert rows.of == {"a": 0, "c": 2, "d": 1}


def test_only_the_rows_that_are_named_are_read() -> None:
    read: Counter[str] = Counter()
    column: Column[str] = Column(np.float64, lambda item: read.update([item]) or float(len(item)))
    items = ["a", "bb", "ccc"]
    column.fill(items)
    column.fill(items, [1])
    column.refresh(2, items)
    assert read == {"a": 1, "bb": 2, "ccc": 2}
    assert column.values[:3].tolist() == [1.0, 2.0, 3.0]


def test_none_is_a_value_unless_the_column_is_nullable() -> None:
    items: list[Item | None] = [{"n": None}, None, {"n": "x"}]
    plain: Coded[Item] = Coded(of)
    plain.fill(items)
    assert [plain.distinct[plain.values[row]] for row in (0, 2)] == [None, "x"]
    assert plain.distinct == [None, "x"]  # a vacant row adds nothing
    nullable: Coded[Item] = Coded(of, nullable=True)
    nullable.fill(items)
    assert nullable.missing[:3].tolist() == [True, True, False]
    assert nullable.distinct == ["x"]


def test_values_of_the_past_are_forgotten() -> None:
    column: Coded[Item] = Coded(of)
    for number in range(1000):
        column.refresh(0, [{"n": number}])
        assert len(column.distinct) <= 2 + 64 + 1
    assert column.distinct[column.values[0]] == 999


def test_items_that_have_one_of_some_values() -> None:
    column: Coded[Item] = Coded(of)
    column.fill([{"n": value} for value in ("x", "y", "x", "z")])
    assert column.among(["x", "z", "nope"])[column.values[:4]].tolist() == [True, False, True, True]
    assert not Coded(of).among(["x"]).any()


@pytest.mark.parametrize("nullable", [True, False])
def test_what_a_column_takes_is_what_its_arrays_take(nullable: bool) -> None:
    column: Column[Item] = Column(np.float64, of, nullable=nullable)
    column.fill([{"n": 1.0}] * 10)
    assert column.nbytes == len(column.values) * (9 if nullable else 8)
