"""Columns follow the inventory: what changes is read again, and nothing else is."""

from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from services.policy.evaluation import memo
from services.policy.evaluation.allowance import Work
from services.policy.evaluation.columns import MAX_COLUMNS, TargetColumns, freeze, reader
from shared.model.target import Target


def target(name: str, **fields: Any) -> Target:
    return Target(workspace="w", name=name, **fields)


def test_only_changed_rows_are_read_again() -> None:
    reads: Counter[str] = Counter()

    def read(each: Target) -> str:
        reads[each.name] += 1
        return each.kubernetes_version

    inventory = TargetColumns()
    inventory.update({name: target(name) for name in "abc"})
    for _ in range(3):
        inventory.words("k", lambda _: read, 0.0)
    assert reads == {"a": 1, "b": 1, "c": 1}
    inventory.update({"b": target("b", kubernetes_version="2"), "d": target("d")})
    column = inventory.words("k", lambda _: read, 0.0)
    assert reads == {"a": 1, "b": 2, "c": 1, "d": 1}
    assert [column.distinct[code] for code in column.values[:4]] == ["", "2", "", ""]


def test_a_target_that_is_gone_has_no_value_and_its_row_is_used_again() -> None:
    inventory = TargetColumns()
    inventory.update({name: target(name, nodes=3) for name in "ab"})
    assert inventory.rows(["a", "b", "x"]).tolist() == [0, 1, -1]
    inventory.update({"a": None, "x": None})
    column = inventory.column("n", "int", reader(("nodes",)), 0.0)
    assert column.missing[:2].tolist() == [True, False]
    inventory.update({"c": target("c", nodes=7)})
    assert inventory.rows(["a", "c"]).tolist() == [-1, 0]
    assert inventory.column("n", "int", reader(("nodes",)), 0.0).values[:2].tolist() == [7, 3]
    assert len(inventory) == 2


def test_columns_are_bounded() -> None:
    inventory = TargetColumns()
    inventory.update({"a": target("a")})
    for number in range(MAX_COLUMNS + 20):
        inventory.words(number, reader(("name",)), 0.0)
    assert len(inventory._columns) == MAX_COLUMNS


changes = st.lists(
    st.dictionaries(st.sampled_from("abcdef"), st.none() | st.sampled_from(("1", "2", "3")), max_size=4), max_size=12
)


@given(changes)
def test_an_updated_inventory_equals_a_new_one(history: list[dict[str, str | None]]) -> None:
    inventory, present = TargetColumns(), {}
    for change in history:
        update = {
            name: None if version is None else target(name, kubernetes_version=version)
            for name, version in change.items()
        }
        inventory.update(update)
        present = {name: each for name, each in {**present, **update}.items() if each is not None}
        column = inventory.words("v", reader(("kubernetesVersion",)), 0.0)
        rows = inventory.rows(present)
        assert (rows >= 0).all()
        found = {name: column.distinct[column.values[row]] for name, row in zip(present, rows, strict=True)}
        assert found == {name: each.kubernetes_version for name, each in present.items()}


def test_groups_tell_apart_exactly_what_is_read() -> None:
    inventory = TargetColumns()
    made = [
        target("a", labels={"x": "1", "y": "9"}),
        target("b", labels={"x": "1"}),
        target("c", labels={"x": "2"}),
        target("d"),
        target("e", labels={"x": ""}),
    ]
    inventory.update({each.name: each for each in made})
    groups = memo.group(inventory, frozenset({("labels", "x")}), np.arange(5), 0.0, Work(1.0))
    assert groups.group_of[0] == groups.group_of[1]
    assert len(set(groups.group_of.tolist())) == 4
    assert len(set(groups.keys("rule") or ())) == 4
    everything = memo.group(inventory, None, np.arange(5), 0.0, Work(1.0))
    assert everything.group_of.tolist() == [0, 1, 2, 3, 4]


def test_not_a_number_groups_with_itself() -> None:
    assert freeze({"a": float("nan")}) == freeze({"a": float("nan")})
    assert freeze([1.5, ["x"]]) == (1.5, ("x",))


def test_a_row_keeps_its_column_values_when_another_attribute_changes() -> None:
    inventory = TargetColumns()
    first = target("a", labels={"x": "1"}, nodes=1)
    inventory.update({"a": first})
    inventory.column("n", "int", reader(("nodes",)), 0.0)
    inventory.update({"a": structs.replace(first, nodes=5)})
    assert inventory.column("n", "int", reader(("nodes",)), 0.0).values[:1].tolist() == [5]
