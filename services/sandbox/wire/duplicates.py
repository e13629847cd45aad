"""Fields that a JSON body has twice, which strict validation refuses and a plain decoder overlooks. Pure."""

import json
from collections import Counter
from typing import Any


class _Twice(dict[str, Any]):
    """An object with names that are there twice."""

    def __init__(self, pairs: list[tuple[str, Any]], names: list[str]) -> None:
        super().__init__(pairs)
        self.names = names


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    return _Twice(pairs, [name for name, count in Counter(name for name, _ in pairs).items() if count > 1])


def duplicates(body: bytes) -> list[str]:
    """Their paths. Raises ValueError for what is no JSON."""
    found: list[str] = []
    _walk(json.loads(body, object_pairs_hook=_object), "", found)
    return found


def _walk(value: Any, path: str, found: list[str]) -> None:
    if isinstance(value, dict):
        here = f"{path}." if path else ""
        found += [f"{here}{name}" for name in (value.names if isinstance(value, _Twice) else ())]
        for name, item in value.items():
            _walk(item, f"{here}{name}", found)
    elif isinstance(value, list):
        for position, item in enumerate(value):
            _walk(item, f"{path}[{position}]", found)
