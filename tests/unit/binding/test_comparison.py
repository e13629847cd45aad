"""Fields that are wanted otherwise than they are."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.binding.core import Member
from services.binding.target.adoption import differing
from services.binding.target.comparison import difference, reported
from tests.support.manifests import deployment

VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["a", "b"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["x", "y"]), inner, max_size=2),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("found", "wanted", "fields"),
    [
        ({"spec": {"replicas": 7, "paused": True}}, {"spec": {"replicas": 2}}, [".spec.replicas"]),
        ({"spec": {"ports": [{"port": 1, "name": "a"}]}}, {"spec": {"ports": [{"port": 2}]}}, [".spec.ports[0].port"]),
        ({"spec": {"ports": [1, 2]}}, {"spec": {"ports": [1]}}, [".spec.ports"]),
        ({"spec": {"on": 1}}, {"spec": {"on": True}}, [".spec.on"]),
        ({"metadata": {}}, {"metadata": {"labels": {}}}, []),
        ({}, {"data": {"a": "b"}}, [".data"]),
    ],
)
def test_fields_are_named_where_they_differ(found: Any, wanted: Any, fields: list[str]) -> None:
    assert differing(found, wanted) == fields


@given(VALUES)
def test_nothing_differs_from_itself(value: Any) -> None:
    assert differing(value, value) == []


@given(VALUES, VALUES)
def test_what_is_there_beside_what_is_wanted_is_no_difference(value: Any, more: Any) -> None:
    assert differing({"wanted": value, "more": more}, {"wanted": value}) == []


def test_our_marks_are_no_difference_and_long_lists_are_cut() -> None:
    wanted = deployment()
    marked = {**wanted, "metadata": {**wanted["metadata"], "labels": {"placement.moorage.io/managed": "true"}}}
    assert difference(Member(marked, "hash"), wanted) is None
    many = {**wanted, "data": {f"key-{number}": "new" for number in range(100)}}
    found = difference(Member(many, "hash"), {**wanted, "data": {"other": "old"}})
    assert found is not None
    assert len(found.fields) == 64
    said = reported([found] * 5, 6, "target root:p/east").message
    assert said.startswith("target root:p/east: nothing is changed (conflictPolicy Report); 5 of 6 objects differ: ")
    assert said.endswith("; and 2 more")
