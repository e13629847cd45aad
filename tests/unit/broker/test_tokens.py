"""Any name becomes a token that subjects and keys may hold, and comes back unchanged."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.broker.subjects import check_key, check_subject
from shared.broker.tokens import escape, join, split, unescape

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)  # surrogates are no text and have no UTF-8
TOKEN = re.compile(r"[A-Za-z0-9=_-]+")


@pytest.mark.parametrize(
    ("name", "token"),
    [
        ("plain-name_1", "plain-name_1"),
        ("root:team-a", "root=3Ateam-a"),
        ("eu.1", "eu=2E1"),
        ("", "="),
        ("=", "=3D"),
        ("ü", "=C3=BC"),
        ("*", "=2A"),
        (">", "=3E"),
    ],
)
def test_escaped_names(name: str, token: str) -> None:
    assert escape(name) == token
    assert unescape(token) == name


@given(names)
def test_unescape_undoes_escape(name: str) -> None:
    assert unescape(escape(name)) == name


@given(names)
def test_an_escaped_name_is_one_token(name: str) -> None:
    assert TOKEN.fullmatch(escape(name))


@given(st.lists(names, min_size=1, max_size=6))
def test_split_undoes_join(parts: list[str]) -> None:
    assert split(join(*parts)) == tuple(parts)


@given(st.lists(names, min_size=1, max_size=5))
def test_joined_names_are_a_subject_and_a_key(parts: list[str]) -> None:
    joined = join(*parts)
    assert check_subject(joined) == check_key(joined) == joined
    assert joined.count(".") == len(parts) - 1


@given(names, names)
def test_different_names_are_different_tokens(one: str, other: str) -> None:
    assert (escape(one) == escape(other)) == (one == other)
