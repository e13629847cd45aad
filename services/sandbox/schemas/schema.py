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
_ANYTHING = {"x-kubernetes-preserve-unknown-fields": True}
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

    __slots__ = ("_validator", "structure")

    def __init__(self, openapi: Document) -> None:
        self.structure: Document = {
            **openapi,
            "type": "object",
            "properties": {**openapi.get("properties", {}), **_ENVELOPE},
        }
        self._validator = jsonschema_rs.Draft4Validator(_to_json_schema(self.structure))

    def conform(self, document: Document, nulls: Nulls = Nulls.UNDECLARED) -> tuple[list[str], list[Cause]]:
        """Drop undeclared fields, and fill in what is absent or null and has a default. Returns the paths that were
        dropped, and what still breaks the schema, in Kubernetes' words."""
        dropped: list[str] = []
        twice: list[Cause] = []
        _conform(document, self.structure, "", dropped, twice, nulls)
        if self._validator.is_valid(document):
            return dropped, twice
        return dropped, [*map(_cause, self._validator.iter_errors(document)), *twice]


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


def _conform(value: Any, schema: Document, path: str, dropped: list[str], twice: list[Cause], nulls: Nulls) -> None:
    """`twice` are the items of sets and keyed lists that are there twice."""
    if isinstance(value, list):
        element, seen = item_element(schema), Counter[str]()
        one_key = len(schema.get("x-kubernetes-list-map-keys") or ()) < 2  # of built-in kinds, ports may be there twice
        for position, item in enumerate(value):
            here = f"{path}[{position}]"
            if element:
                seen[name := element(item)] += 1
                if seen[name] == 2 and (one_key or nulls is not Nulls.NOWHERE):
                    twice.append(Cause("FieldValueDuplicate", here, f"Duplicate value: {name[2:]}"))
            _conform(item, schema.get("items") or _ANYTHING, here, dropped, twice, nulls)
    elif isinstance(value, dict):
        properties, others = schema.get("properties") or {}, schema.get("additionalProperties")
        for name, field in properties.items():
            if "default" in field and (name not in value or (value[name] is None and not field.get("nullable"))):
                value[name] = copy.deepcopy(field["default"])
        keep = others is True or schema.get("x-kubernetes-preserve-unknown-fields")
        embedded = schema.get("x-kubernetes-embedded-resource", False)
        for name, item in list(value.items()):
            declared = properties.get(name, others)
            here = f"{path}.{name}" if path else name
            known = declared if isinstance(declared, dict) else None
            if not item and _is_nothing(item, known, nulls, required=name in (schema.get("required") or ())):
                del value[name]
            elif known is not None and isinstance(item, dict | list):
                _conform(item, known, here, dropped, twice, nulls)
            elif known is None and not (keep or (embedded and name in _ENVELOPE)):
                del value[name]
                dropped.append(here)


def _is_nothing(value: Any, schema: Document | None, nulls: Nulls, *, required: bool) -> bool:
    """True if a field is as good as absent."""
    if nulls is Nulls.UNDECLARED:
        return value is None and schema is not None and not schema.get("nullable")
    if nulls is Nulls.NOWHERE:
        empty: Any = {} if schema and "additionalProperties" in schema else []
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
