"""Bodies of answers as objects, and as pages of a collection."""

import functools
from typing import Any, Generic, TypeVar

import msgspec

from shared.kube.errors import MALFORMED, Unreachable

T = TypeVar("T")


class _ListMeta(msgspec.Struct, rename={"version": "resourceVersion", "continues": "continue"}):
    version: str = ""
    continues: str = ""


class _List(msgspec.Struct, Generic[T], rename={"api_version": "apiVersion"}):
    items: list[T] | None
    kind: str = ""
    api_version: str = ""
    metadata: _ListMeta = msgspec.field(default_factory=_ListMeta)


@functools.lru_cache(maxsize=128)
def _decoder(type: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(type)


def decode(raw: bytes, type: Any, base: str) -> Any:
    """An answer from `base` as what it should be. Raises Unreachable for anything else."""
    try:
        return _decoder(type).decode(raw)
    except MALFORMED as error:
        raise Unreachable(f"{base} answered with something unexpected") from error


def decode_page(raw: bytes, type: Any, base: str) -> tuple[list[Any], str, str]:
    """The items of a list, dicts where no `type` is named, its version, and where it goes on. Raises Unreachable."""
    wanted: Any = type or dict
    found = decode(raw, _List[wanted], base)
    items = found.items or []
    if type is None:
        # Built-in kinds leave these two out of the items of a list.
        kind = found.kind.removesuffix("List")
        items = [{"apiVersion": found.api_version, "kind": kind, **item} for item in items]
    return items, found.metadata.version, found.metadata.continues
