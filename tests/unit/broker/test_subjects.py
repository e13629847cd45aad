"""Which subjects a filter covers, and which keys lie below a prefix."""

import pytest

from shared.broker.subjects import below, check_key, check_subject, covers


@pytest.mark.parametrize(
    ("pattern", "subject", "expected"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.c", False),
        ("a.b", "a.b.c", False),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("a.*.c", "a.b.c", True),
        ("a.>", "a.b", True),
        ("a.>", "a.b.c.d", True),
        ("a.>", "a", False),
        ("a.>", "b.c", False),
        (">", "a", True),
        (">", "a.b.c", True),
        ("*", "a.b", False),
        ("*.>", "a.b", True),
    ],
)
def test_covers(pattern: str, subject: str, expected: bool) -> None:
    assert covers(pattern, subject) is expected


@pytest.mark.parametrize(
    ("prefix", "key", "expected"),
    [("", "a", True), ("a", "a.b", True), ("a", "a", False), ("a", "ab.c", False), ("a.b", "a.b.c.d", True)],
)
def test_below(prefix: str, key: str, expected: bool) -> None:
    assert below(prefix, key) is expected


@pytest.mark.parametrize("subject", ["", ".", "a.", ".a", "a..b", "a b", "a\n", "a.*", ">", "\x7f", "x" * 2049])
def test_not_a_subject(subject: str) -> None:
    with pytest.raises(ValueError, match="not a subject"):
        check_subject(subject)


@pytest.mark.parametrize("key", ["", ".", "a.", ".a", "a..b", "a b", "a:b", "ä", "a*", "x" * 2049])
def test_not_a_key(key: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        check_key(key)
