"""Golden messages: what a release puts on the bus and into buckets, kept so that the next one can be held against it.

    python -m tests.support.golden        writes tests/golden/<version>.json; run it when a version is released

Each kind stands there with a sample that has every field, and with its JSON Schema. Both derive from the types alone,
so that nothing has to be kept up by hand.
"""

import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect as mi

from shared.pipeline.buckets import BUCKETS
from shared.pipeline.messages import MESSAGES

FOLDER = Path(__file__).parents[1] / "golden"
KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in (*MESSAGES, *(bucket.holds for bucket in BUCKETS))}
"""All that travels between workers of different versions."""

_WORDS = ("a", "1", "5m", "/spec/replicas", "root:a", "apps/v1", "2026-01-01T00:00:00Z", "a.io/b", "A")


TURNS = 12
"""No set of words is larger than that (a test says so)."""


def sample(info: mi.Type, turn: int = 0) -> Any:
    """JSON that fits a type and leaves no field out. Over `TURNS` turns, every word of every set of words has one."""
    match info:
        case mi.Metadata():
            keywords = info.extra_json_schema or {}
            if keywords.get("format") == "date-time":
                return "2026-01-01T00:00:00Z"
            words = keywords.get("examples")  # of a set that is open on the wire, those we write
            return words[turn % len(words)] if words else sample(info.type, turn)
        case mi.StructType():
            tag = {info.tag_field: info.tag} if info.tag_field else {}
            return {**tag, **{field.encode_name: sample(field.type, turn) for field in info.fields}}
        case mi.VarTupleType() | mi.ListType():
            return [sample(info.item_type, turn)] * max(info.min_length or 0, 1)
        case mi.DictType():
            return {sample(info.key_type, turn): sample(info.value_type, turn)}
        case mi.UnionType():
            return sample(next(option for option in info.types if not isinstance(option, mi.NoneType)), turn)
        case mi.LiteralType():
            return info.values[turn % len(info.values)]
        case mi.StrType():
            return next(word for word in _WORDS if _fits(info, word))
        case mi.IntType() | mi.FloatType():
            return max(info.ge or 0, 1)
        case mi.BoolType():
            return True
        case mi.AnyType():
            return {"any": "thing"}
    raise AssertionError(info)


def _fits(info: mi.StrType, word: str) -> bool:
    long_enough = len(word) >= (info.min_length or 0)
    return long_enough and (info.pattern is None or re.search(info.pattern, word) is not None)


def recorded(kinds: dict[str, type[Any]]) -> dict[str, dict[str, Any]]:
    """A sample of each kind, and the JSON Schemas of all that is in them, by name."""
    _, schemas = msgspec.json.schema_components(kinds.values(), ref_template="#/$defs/{name}")
    return {"samples": {name: sample(mi.type_info(kind)) for name, kind in kinds.items()}, "schemas": _bare(schemas)}


def _bare(schema: Any) -> Any:
    """A schema without what is only for people."""
    if isinstance(schema, dict):
        prose = {name for name in ("title", "description") if isinstance(schema.get(name), str)}
        return {name: _bare(each) for name, each in schema.items() if name not in prose}
    return [_bare(each) for each in schema] if isinstance(schema, list) else schema


def main() -> None:
    """Write the file of the version that is checked out."""
    FOLDER.mkdir(exist_ok=True)
    text = json.dumps(recorded(KINDS), indent=1, sort_keys=True)
    (FOLDER / f"{version('moorage')}.json").write_text(f"{text}\n")


if __name__ == "__main__":
    main()
