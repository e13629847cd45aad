"""Fields that no kind knows: an API server prunes them, so that a misspelt one is lost in silence."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from msgspec import inspect as mi

from shared.api.codec import KINDS
from shared.api.generate.schema import unwrap


def unknown_fields(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Paths of the fields that the kind of a manifest does not know, as kubectl warns of; metadata is not looked at."""
    info = _kind(manifest["kind"])
    known = {field.encode_name: field.type for field in info.fields} | {"kind": mi.AnyType()}
    for name, value in manifest.items():
        if name not in known:
            yield name
        elif name != "metadata":
            yield from _within(known[name], value, name)


@cache
def _kind(kind: str) -> mi.StructType:
    info = mi.type_info(KINDS[kind])
    assert isinstance(info, mi.StructType)
    return info


def _within(info: mi.Type, value: Any, path: str) -> Iterator[str]:
    info, _ = unwrap(info)
    match info:
        case mi.StructType() if isinstance(value, Mapping):
            known = {field.encode_name: field.type for field in info.fields}
            for name, part in value.items():
                if name in known:
                    yield from _within(known[name], part, f"{path}.{name}")
                else:
                    yield f"{path}.{name}"
        case mi.DictType() if isinstance(value, Mapping):
            for name, part in value.items():
                yield from _within(info.value_type, part, f"{path}.{name}")
        case mi.VarTupleType() if isinstance(value, list):
            for index, part in enumerate(value):
                yield from _within(info.item_type, part, f"{path}[{index}]")
