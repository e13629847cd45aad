"""Structural schemas: the OpenAPI v3 subset of CustomResourceDefinitions. Pure: objects in, causes out.

Built-in kinds use the same machinery with small partial schemas (see `kinds.yaml`). `rules` has the CEL of schemas.
"""

import copy
from collections import Counter
from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from typing import Any

import jsonschema_rs
import msgspec

from services.sandbox.errors import Cause, Document
from services.sandbox.schemas.kinds import KINDS

_sorted_json = msgspec.json.Encoder(order="sorted").encode
_ENVELOPE = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": KINDS["schemas"]["metadata"]}


def child(schema: Document, name: str) -> Document:
    """The schema of a field of an object; empty (anything goes) where none is declared."""
    found = schema.get("properties", {}).get(name)
    if found is None:
        found = schema.get("additionalProperties")
    return found if isinstance(found, dict) else {}


def is_open(schema: Document) -> bool:
    """True if an object may have fields that the schema does not declare."""
    kept = schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("additionalProperties")
    return bool(kept) or not schema.get("properties")


def item_element(schema: Document) -> Callable[[Any], str] | None:
    """How the items of a list are named (`k:` or `v:` and JSON, as in FieldsV1), none where the list is atomic."""
    kind = schema.get("x-kubernetes-list-type")
    if kind == "set":
        return lambda item: f"v:{_sorted_json(item).decode()}"
    if kind != "map":
        return None
    keys = schema["x-kubernetes-list-map-keys"]
    fields = schema.get("items", {}).get("properties", {})
    defaults = {key: fields[key]["default"] for key in keys if "default" in fields.get(key, {})}

    def element(item: Any) -> str:
        found = {**defaults, **item} if isinstance(item, dict) else {}
        named = {key: found[key] for key in keys if key in found}
        return f"k:{_sorted_json(named).decode()}"

    return element


class Nulls(Enum):
    """Where a null stays that no default replaces."""

    ANYWHERE = "applied objects of custom kinds"
    UNDECLARED = "fields of custom kinds that the schema does not declare or lets be null"
    NOWHERE = "built-in kinds, whose types in Go leave out empty lists too"


class Schema:
    """One version of one kind. `structure` is the OpenAPI schema with ObjectMeta put in."""

    __slots__ = ("_node", "_validator", "structure")

    def __init__(self, openapi: Document) -> None:
        self.structure: Document = {
            **openapi,
            "type": "object",
            "properties": {**openapi.get("properties", {}), **_ENVELOPE},
        }
        self._node = _Node(self.structure)
        self._validator = jsonschema_rs.Draft4Validator(_to_json_schema(self.structure))

    def conform(self, document: Document, nulls: Nulls = Nulls.UNDECLARED) -> tuple[list[str], list[Cause]]:
        """Drop undeclared fields, and fill in what is absent or null and has a default. Returns the paths that were
        dropped, and what still breaks the schema, in Kubernetes' words. `managedFields` are the server's own, and are
        the largest part of many an object: they are not looked at."""
        dropped: list[str] = []
        twice: list[Cause] = []
        metadata = document.get("metadata")
        owned = metadata.pop("managedFields", None) if isinstance(metadata, dict) else None
        try:
            _conform(document, self._node, "", dropped, twice, nulls)
            if self._validator.is_valid(document):
                return dropped, twice
            return dropped, [*map(_cause, self._validator.iter_errors(document)), *twice]
        finally:
            if owned and metadata is not None:
                metadata["managedFields"] = owned


@lru_cache(maxsize=1024)
def compile_schema(encoded: bytes) -> Schema:
    """Equal schemas in a thousand workspaces are compiled and kept once. Raises ValueError on an invalid schema."""
    return Schema(msgspec.json.decode(encoded))


def _to_json_schema(schema: Document) -> Document:
    """Draft 4, which OpenAPI v3 extends: `nullable` and int-or-string become type unions, the rest is dropped."""
    result: Document = {}
    for word, value in schema.items():
        if word in ("properties", "patternProperties"):
            result[word] = {name: _to_json_schema(item) for name, item in value.items()}
        elif word in ("items", "not", "additionalProperties") and isinstance(value, dict):
            result[word] = _to_json_schema(value)
        elif word in ("allOf", "anyOf", "oneOf"):
            result[word] = [_to_json_schema(item) for item in value]
        elif not word.startswith("x-") and word not in ("nullable", "default", "example", "format", "description"):
            result[word] = value
    if schema.get("x-kubernetes-int-or-string"):
        result["type"] = ["integer", "string"]
    if schema.get("nullable") and "type" in result:
        types = result["type"] if isinstance(result["type"], list) else [result["type"]]
        result["type"] = [*types, "null"]
        if "enum" in result:
            result["enum"] = [*result["enum"], None]
    return result


class _Node:
    """What conforming asks of one schema within a structure, worked out once."""

    __slots__ = (
        "defaults",
        "element",
        "items",
        "keeps",
        "map",
        "nullable",
        "one_key",
        "others",
        "properties",
        "required",
    )

    def __init__(self, schema: Document) -> None:
        properties, others = schema.get("properties") or {}, schema.get("additionalProperties")
        self.properties: dict[str, _Node] = {name: _Node(field) for name, field in properties.items()}
        self.others: _Node | None = _Node(others) if isinstance(others, dict) else None
        self.items: _Node | None = _Node(schema["items"]) if schema.get("items") else None  # None: anything goes
        self.defaults = [
            (name, field["default"], bool(field.get("nullable")), field.get("x-default-without", ""))
            for name, field in properties.items()
            if "default" in field
        ]
        self.required = frozenset(schema.get("required") or ())
        self.nullable = bool(schema.get("nullable"))
        self.map = "additionalProperties" in schema
        self.element = item_element(schema)
        self.one_key = len(schema.get("x-kubernetes-list-map-keys") or ()) < 2
        embedded = schema.get("x-kubernetes-embedded-resource", False)
        self.keeps: bool | frozenset[str] = (  # which undeclared fields stay
            others is True
            or bool(schema.get("x-kubernetes-preserve-unknown-fields"))
            or frozenset(_ENVELOPE if embedded else ())
        )

    def has(self, name: str) -> bool:
        """True if a field that is not declared may stay."""
        return self.keeps if isinstance(self.keeps, bool) else name in self.keeps


_OPEN = _Node({"x-kubernetes-preserve-unknown-fields": True})


def _conform(value: Any, node: _Node, path: str, dropped: list[str], twice: list[Cause], nulls: Nulls) -> None:
    """`twice` are the items of sets and keyed lists that are there twice."""
    if isinstance(value, list):
        _conform_items(value, node, path, dropped, twice, nulls)
        return
    for name, default, nullable, without in node.defaults:
        if without not in value and (name not in value or (value[name] is None and not nullable)):
            value[name] = copy.deepcopy(default)
    properties, others = node.properties, node.others
    for name, item in list(value.items()):
        known = properties.get(name, others)
        if not item and _is_nothing(item, known, nulls, required=name in node.required):
            del value[name]
        elif known is None:
            if not node.has(name):
                del value[name]
                dropped.append(f"{path}.{name}" if path else name)
        elif isinstance(item, dict | list):
            _conform(item, known, f"{path}.{name}" if path else name, dropped, twice, nulls)


def _conform_items(
    items: list[Any], node: _Node, path: str, dropped: list[str], twice: list[Cause], nulls: Nulls
) -> None:
    seen = Counter[str]()
    for position, item in enumerate(items):
        if node.element:
            seen[name := node.element(item)] += 1
            # Of built-in kinds, ports may be there twice.
            if seen[name] == 2 and (node.one_key or nulls is not Nulls.NOWHERE):
                twice.append(Cause("FieldValueDuplicate", f"{path}[{position}]", f"Duplicate value: {name[2:]}"))
        if isinstance(item, dict | list):
            _conform(item, node.items or _OPEN, f"{path}[{position}]", dropped, twice, nulls)


def _is_nothing(value: Any, node: _Node | None, nulls: Nulls, *, required: bool) -> bool:
    """True if a field is as good as absent."""
    if nulls is Nulls.UNDECLARED:
        return value is None and node is not None and not node.nullable
    if nulls is Nulls.NOWHERE:
        empty: Any = {} if node and node.map else []
        return value is None or (value == empty and not required)
    return False


def _cause(error: Any) -> Cause:
    field = ""
    for part in error.instance_path:
        field += f"[{part}]" if isinstance(part, int) else f".{part}" if field else str(part)
    kind, instance, known = error.kind, error.instance, jsonschema_rs.ValidationErrorKind
    shown = msgspec.json.encode(instance).decode()[:200]
    match kind:
        case known.Required():
            return Cause("FieldValueRequired", f"{field}.{kind.property}".lstrip("."), "Required value")
        case known.Enum():
            supported = ", ".join(msgspec.json.encode(option).decode() for option in kind.options)
            message = f"Unsupported value: {shown}: supported values: {supported}"
            return Cause("FieldValueNotSupported", field, message)
        case known.Type():
            name, wanted = _type_name(instance), ",".join(kind.types)
            message = f'Invalid value: "{name}": {field} in body must be of type {wanted}: "{name}"'
            return Cause("FieldValueTypeInvalid", field, message)
        case known.MaxLength():
            return Cause("FieldValueTooLong", field, f"Too long: may not be more than {kind.limit} bytes")
        case known.Maximum():
            said = f"{field} in body should be less than or equal to {kind.limit}"
        case known.Minimum():
            said = f"{field} in body should be greater than or equal to {kind.limit}"
        case known.Pattern():
            said = f"{field} in body should match '{kind.pattern}'"
        case _:
            said = error.message[:500]
    return Cause.invalid(field or "<nil>", f"{shown}: {said}")


def _type_name(value: Any) -> str:
    """The JSON type of a value, in the words of OpenAPI."""
    names = {bool: "boolean", int: "integer", float: "number", str: "string", dict: "object", list: "array"}
    return names.get(type(value), "null")
