"""Placements, targets and policies by name: what is spelled out is read back."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.model.refs import PlacementRef, PolicyRef, TargetRef

ROOT = Path(__file__).parents[3]
NAME = st.text("abcdefghijklmnopqrstuvwxyz0123456789-.", min_size=1, max_size=20)
WORKSPACE = st.one_of(st.just(""), st.text("abc:-1", min_size=1, max_size=20))
TARGETS = st.builds(TargetRef, workspace=WORKSPACE, name=NAME)
PLACEMENTS = st.builds(PlacementRef, workspace=WORKSPACE, namespace=NAME, name=NAME)


@given(TARGETS)
def test_a_target_is_read_from_its_id_and_from_its_key(target):
    assert TargetRef.parse(target.id) == target
    assert TargetRef.from_key(target.key) == target
    assert TargetRef.of(target.reference) == target


@given(PLACEMENTS)
def test_a_placement_is_read_from_its_id_and_from_its_key(placement):
    assert PlacementRef.parse(placement.id) == placement
    assert PlacementRef.from_key(placement.key) == placement
    assert str(placement) == placement.id


@given(TARGETS, PLACEMENTS)
def test_a_key_that_begins_with_a_target_says_whose_it_is(target, placement):
    assert TargetRef.owning(f"{target.key}.{placement.key}") == target


@given(TARGETS, TARGETS)
def test_different_targets_have_different_ids_and_keys(one, other):
    assert (one == other) == (one.id == other.id) == (one.key == other.key)


def test_a_policy_and_a_target_of_one_name_are_not_the_same():
    assert TargetRef(workspace="root", name="a") != PolicyRef(workspace="root", name="a")


@pytest.mark.parametrize("wrong", ["", "a", "a/b", "a/b/c/d"])
def test_an_id_without_three_parts_names_no_placement(wrong):
    with pytest.raises(ValueError, match="unpack"):
        PlacementRef.parse(wrong)


def test_nobody_else_puts_names_together_or_takes_them_apart():
    spelled = re.compile(r"workspace\}/\{[a-z_.]*name\}|join\([a-z_.]*workspace, [a-z_.]*name")
    files = [*(ROOT / "services").rglob("*.py"), *(ROOT / "shared").rglob("*.py")]
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sorted(files)
        if path != ROOT / "shared" / "model" / "refs.py"
        for line in path.read_text().splitlines()
        if spelled.search(line)
    ]
    assert found == []
