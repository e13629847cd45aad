"""Fields that no kind knows: an API server prunes them, so that a misspelt one is lost in silence."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from msgspec import inspect as mi

from shared.api.codec import KINDS
from shared.api.generate.schema import unwrap


def unknown_fields(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Paths of the fields that the kind of a manifest does not know, as kubectl warns of; metadata is not looked at."""
    known = _known_of(manifest["kind"])
    for name, value in manifest.items():
        if name not in known:
            yield name
        elif name != "metadata":
            yield from _within(known[name], value, name)


class _EachOf(NamedTuple):
    """What is known of the values of a map, or of the items of a list."""

    known: "_Known"


_Known = dict[str, "_Known"] | _EachOf | None
"""What is known of a value: of an object its fields, and what of theirs; None where anything may be in it."""


@cache
def _known_of(kind: str) -> dict[str, _Known]:
    known = _known(mi.type_info(KINDS[kind]))
    assert isinstance(known, dict)
    return known | {"kind": None}


def _known(info: mi.Type) -> _Known:
    match unwrap(info)[0]:
        case mi.StructType(fields=fields):
            return {field.encode_name: _known(field.type) for field in fields}
        case mi.DictType(value_type=inner) | mi.VarTupleType(item_type=inner):
            each = _known(inner)
            return None if each is None else _EachOf(each)
    return None


def _within(known: _Known, value: Any, path: str) -> Iterator[str]:
    if isinstance(known, dict) and isinstance(value, Mapping):
        for name, part in value.items():
            if name not in known:
                yield f"{path}.{name}"
            elif known[name] is not None:
                yield from _within(known[name], part, f"{path}.{name}")
    elif isinstance(known, _EachOf):
        if isinstance(value, Mapping):
            for name, part in value.items():
                yield from _within(known.known, part, f"{path}.{name}")
        elif isinstance(value, list):
            for index, part in enumerate(value):
                yield from _within(known.known, part, f"{path}[{index}]")
