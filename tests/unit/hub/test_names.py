"""Names that objects carry on our behalf stand in one place, and keep to Kubernetes' limits."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.hub import names
from shared.model.refs import PlacementRef

ROOT = Path(__file__).parents[3]
OURS = re.compile(r"(placement\.)?moorage\.io/(?!v1alpha1)")
"""What begins like one of our names and is no API version. The sandbox's own begin with `sandbox.`."""
WORD = st.text("abcdefghijklmnopqrstuvwxyz0123456789-.:", min_size=1, max_size=300)
REF = st.builds(PlacementRef, workspace=WORD, namespace=WORD, name=WORD)


def literals(tree: ast.Module) -> Iterator[str]:
    """String literals that are no docstrings."""
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in statements:
            yield node.value


def test_nobody_spells_a_name_of_ours_elsewhere():
    files = {*(ROOT / "services").rglob("*.py"), *(ROOT / "shared").rglob("*.py")} - {Path(names.__file__)}
    found = [
        f"{path.relative_to(ROOT)}: {text}"
        for path in sorted(files)
        for text in literals(ast.parse(path.read_text()))
        if OURS.match(text)
    ]
    assert found == []


@given(REF)
def test_an_owner_is_read_as_it_was_written(ref):
    assert names.parse_owner(names.owner_of(ref)) == ref


@pytest.mark.parametrize("owner", ["", "web", "root:team|shop", "root:team|shop|web|more"])
def test_what_names_no_owner_is_none(owner):
    assert names.parse_owner(owner) is None


@given(REF)
def test_names_are_never_longer_than_kubernetes_allows(ref):
    assert len(names.label_value(ref.name)) <= 63
    assert len(names.binding_name(ref.name, f"{ref.workspace}/{ref.name}")) <= 253
    assert len(names.applyset_name(ref)) <= 253


def test_long_names_that_differ_at_their_end_stay_apart():
    one, other = "a" * 80 + "1", "a" * 80 + "2"
    assert names.label_value(one) != names.label_value(other)
    assert names.label_value("short") == "short"
