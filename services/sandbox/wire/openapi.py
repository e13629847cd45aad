"""OpenAPI v2 of a cluster, as JSON and as protobuf: what older clients look up to check fields. Pure.

A definition per kind, with its fields, and a path per kind by which a client sees that the server checks fields itself.
kubectl asks for protobuf alone (OpenAPIv2.proto of github.com/google/gnostic-models); only what is in here is encoded.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from services.sandbox.errors import Document

PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_TYPES = frozenset({"array", "boolean", "integer", "number", "object", "string"})
_QUERY = ("dryRun", "fieldManager", "fieldValidation", "force")


def document(version: str, kinds: Iterable[tuple[str, str, Document, Document]]) -> Document:
    """The document; of each kind its name as a definition, its path, the group, version and kind, and its schema."""
    definitions, paths = {}, {}
    for name, path, kind, structure in kinds:
        definitions[name] = {**_schema(structure), "x-kubernetes-group-version-kind": [kind]}
        paths[path] = {"patch": _operation(name, kind)}
    info = {"title": "Moorage sandbox", "version": version}
    return {"swagger": "2.0", "info": info, "paths": paths, "definitions": definitions}


def _operation(name: str, kind: Document) -> Document:
    return {
        "parameters": [{"name": each, "in": "query", "type": "string", "uniqueItems": True} for each in _QUERY],
        "responses": {"200": {"description": "OK", "schema": {"$ref": f"#/definitions/{name}"}}},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": kind,
    }


def _schema(structure: Document) -> Document:
    """A structural schema in the words that OpenAPI v2 has: types, fields, items, what is required."""
    found: Document = {}
    if structure.get("type") in _TYPES:
        found["type"] = structure["type"]
    if structure.get("required"):
        found["required"] = list(structure["required"])
    if properties := structure.get("properties"):
        found["properties"] = {name: _schema(each) for name, each in properties.items()}
    if isinstance(structure.get("items"), dict):
        found["items"] = _schema(structure["items"])
    if isinstance(structure.get("additionalProperties"), dict):
        found["additionalProperties"] = _schema(structure["additionalProperties"])
    return found


def encoded(swagger: Document) -> bytes:
    """The document as protobuf."""
    info = _text(1, swagger["info"]["title"]) + _text(2, swagger["info"]["version"])
    paths = [_part(2, _named(path, _path_item(item))) for path, item in swagger["paths"].items()]
    definitions = [_part(1, _named(name, _message(each))) for name, each in swagger["definitions"].items()]
    parts = (_text(1, swagger["swagger"]), _part(2, info), _part(8, b"".join(paths)), _part(9, b"".join(definitions)))
    return b"".join(parts)


def _path_item(item: Document) -> bytes:
    """PathItem, with what it has to patch: its seventh field."""
    operation = item["patch"]
    found = [_part(8, _parameter(each)) for each in operation["parameters"]]
    reference = _text(1, operation["responses"]["200"]["schema"]["$ref"])
    response = _text(1, "OK") + _part(2, _part(1, reference))  # Response: description, SchemaItem of a Schema
    found.append(_part(9, _part(1, _named("200", _part(1, response)))))
    found += [_extension(13, name, value) for name, value in operation.items() if name.startswith("x-")]
    return _part(7, b"".join(found))


def _parameter(parameter: Document) -> bytes:
    """ParametersItem of a NonBodyParameter of a QueryParameterSubSchema."""
    query = _text(2, parameter["in"]) + _text(4, parameter["name"]) + _text(6, parameter["type"])
    return _part(1, _part(2, _part(3, query)))


def _message(schema: Document) -> bytes:
    """Schema."""
    found = [_text(19, each) for each in schema.get("required", ())]
    if "additionalProperties" in schema:
        found.append(_part(21, _part(1, _message(schema["additionalProperties"]))))
    if "type" in schema:
        found.append(_part(22, _text(1, schema["type"])))
    if "items" in schema:
        found.append(_part(23, _part(1, _message(schema["items"]))))
    if "properties" in schema:
        fields = [_part(1, _named(name, _message(each))) for name, each in schema["properties"].items()]
        found.append(_part(25, b"".join(fields)))
    found += [_extension(31, name, value) for name, value in schema.items() if name.startswith("x-")]
    return b"".join(found)


def _extension(field: int, name: str, value: Any) -> bytes:
    """NamedAny; JSON is YAML."""
    return _part(field, _named(name, _text(2, msgspec.json.encode(value).decode())))


def _named(name: str, content: bytes) -> bytes:
    return _text(1, name) + _part(2, content)


def _text(field: int, value: str) -> bytes:
    return _part(field, value.encode())


def _part(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
