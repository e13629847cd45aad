"""Regular expressions: RE2, whose time is linear. What they take of memory is bounded, and so is what is kept.

`matches` is CEL's; `find` and `findAll` are Kubernetes'.
"""

from functools import lru_cache
from typing import Any

from services.policy.functions.function import Function, FunctionError

LONGEST = 1_000
"""Characters of a pattern."""

MEMORY = 256 << 10
"""Bytes that a compiled pattern may take, beside what it is searched with."""

KEPT = 64
"""Compiled patterns that are kept, least recently used first out: 16 MiB of them at most."""

MOST_FOUND = 1_000


def compiled(pattern: str) -> Any:
    """The compiled pattern. Raises `FunctionError` for what is none, or is too large."""
    if len(pattern) > LONGEST:
        raise FunctionError(f"a regular expression of more than {LONGEST} characters")
    try:
        return _compiled(pattern)
    except (_re2().error, ValueError):  # ValueError: what cannot be encoded
        raise FunctionError("not a regular expression, or too large") from None


@lru_cache(maxsize=1)
def _re2() -> Any:
    import re2  # type: ignore[import-untyped]  # google-re2, what cel-python matches with, ships no types

    return re2


@lru_cache(maxsize=KEPT)
def _compiled(pattern: str) -> Any:
    options = _re2().Options()
    options.log_errors = False  # re2 writes every bad pattern to standard error
    options.max_mem = MEMORY
    return _re2().compile(pattern, options)


def matches(text: str, pattern: str) -> bool:
    """As CEL's `matches`: anywhere in the text."""
    return compiled(pattern).search(text) is not None


def _find(text: str, pattern: str) -> str:
    found = compiled(pattern).search(text)
    return found.group(0) if found else ""


def _find_all(text: str, pattern: str, most: int = -1) -> list[str]:
    limit = MOST_FOUND if most < 0 else min(most, MOST_FOUND)
    found: list[str] = []
    for each in compiled(pattern).finditer(text):
        if len(found) >= limit:
            break
        found.append(each.group(0))
    return found


REGEX = (
    Function(
        "find", (("string", "string"),), "string", _find,
        "The first match of a regular expression; an empty text without one", 'target.name.find("[0-9]+") == "1"',
    ),
    Function(
        "findAll", (("string", "string"), ("string", "string", "int")), "list<string>", _find_all,
        f"All matches, at most as many as asked for, and {MOST_FOUND}", 'size(target.name.findAll("[0-9]+")) == 1',
    ),
)  # fmt: skip
