"""Structural OpenAPI schemas, as CRDs want them, from the typed model."""

from typing import Any

import msgspec
from msgspec import inspect as mi

from shared.api.meta import ApiObject, ApiStruct

Schema = dict[str, Any]


def object_schema(kind: type[ApiObject]) -> Schema:
    """The schema of a whole object. Defaults are given in the spec only: nobody else's status is filled in."""
    info = mi.type_info(kind)
    assert isinstance(info, mi.StructType)
    properties: Schema = {
        "apiVersion": {"type": "string", "description": "API group and version of the object."},
        "kind": {"type": "string", "description": "Kind of the object."},
        "metadata": {"type": "object"},
    }
    required = []
    for field in info.fields:
        if field.encode_name not in properties:
            properties[field.encode_name] = _field(field, defaults=field.encode_name == "spec")
            if field.required:
                required.append(field.encode_name)
    schema: Schema = {"type": "object", "description": summary(kind), "properties": properties}
    if required:
        schema["required"] = required
    return schema


def unwrap(info: mi.Type) -> tuple[mi.Type, dict[str, Any]]:
    """The type without its metadata and without None, and the JSON schema keywords that stood around it."""
    keywords: dict[str, Any] = {}
    while True:
        if isinstance(info, mi.Metadata):
            keywords = {**(info.extra_json_schema or {}), **keywords}
            info = info.type
        elif isinstance(info, mi.UnionType) and len(present := _present(info)) == 1:
            info = present[0]
        else:
            return info, keywords


def int_or_string(info: mi.Type) -> tuple[mi.IntType, mi.StrType] | None:
    """The two halves of a type that is a whole number or text, which Kubernetes calls int-or-string; else None."""
    if not isinstance(info, mi.UnionType):
        return None
    match sorted((unwrap(option)[0] for option in _present(info)), key=lambda option: type(option).__name__):
        case [mi.IntType() as number, mi.StrType() as text]:
            return number, text
    return None


def scalar_default(field: mi.Field) -> Any:
    """The field's default if it says something (a number, a flag, a word), else None."""
    default = field.default
    return default if isinstance(default, bool | int | float | str) and default != "" else None


def _present(info: mi.UnionType) -> list[mi.Type]:
    return [option for option in info.types if not isinstance(option, mi.NoneType)]


def summary(cls: type) -> str:
    """The first paragraph of the docstring."""
    return (cls.__doc__ or "").split("\n\n")[0].strip()


def _field(field: mi.Field, *, defaults: bool) -> Schema:
    node = _node(field.type, defaults=defaults)
    if not defaults:
        return node
    default = scalar_default(field)
    if default is not None:
        node["default"] = default
    elif isinstance(field.default, msgspec.Struct) and _has_defaults(node):
        node["default"] = {}
    return node


def _has_defaults(node: Schema) -> bool:
    return any("default" in child for child in node.get("properties", {}).values())


def _node(info: mi.Type, *, defaults: bool) -> Schema:
    info, keywords = unwrap(info)
    return {**_bare(info, defaults=defaults), **keywords}


def _bare(info: mi.Type, *, defaults: bool) -> Schema:
    match info:
        case mi.StructType():
            return _struct(info, defaults=defaults)
        case mi.DictType():
            return _map(info, defaults=defaults)
        case mi.VarTupleType():
            array: Schema = {"type": "array", "items": _node(info.item_type, defaults=defaults)}
            return array | _given(minItems=info.min_length, maxItems=info.max_length)
        case mi.LiteralType():
            return {"type": "string", "enum": list(info.values)}
        case mi.StrType():
            lengths = _given(minLength=info.min_length, maxLength=info.max_length, pattern=info.pattern)
            return {"type": "string"} | lengths
        case mi.BoolType():
            return {"type": "boolean"}
        case mi.IntType():
            return {"type": "integer", "format": "int64"} | _given(minimum=info.ge, maximum=info.le)
        case mi.FloatType():
            return {"type": "number"} | _given(minimum=info.ge, maximum=info.le)
        case mi.AnyType():
            return {"x-kubernetes-preserve-unknown-fields": True}
        case mi.UnionType() if (halves := int_or_string(info)) is not None:
            number, text = halves
            # JSON Schema applies each of these keywords to numbers alone or to text alone.
            return {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]} | _given(
                minimum=number.ge, maximum=number.le, pattern=text.pattern, maxLength=text.max_length
            )
    raise TypeError(f"no structural schema for {info}")


def _struct(info: mi.StructType, *, defaults: bool) -> Schema:
    assert issubclass(info.cls, ApiStruct)
    node: Schema = {"type": "object", "description": summary(info.cls)}
    if info.fields:
        node["properties"] = {field.encode_name: _field(field, defaults=defaults) for field in info.fields}
    required = [field.encode_name for field in info.fields if field.required]
    if required:
        node["required"] = required
    if info.cls.validations:
        node["x-kubernetes-validations"] = [
            {"rule": validation.rule, "message": validation.message} for validation in info.cls.validations
        ]
    return node


def _map(info: mi.DictType, *, defaults: bool) -> Schema:
    node: Schema = {"type": "object"} | _given(maxProperties=info.max_length)
    if isinstance(unwrap(info.value_type)[0], mi.AnyType):
        return node | {"x-kubernetes-preserve-unknown-fields": True}
    return node | {"additionalProperties": _node(info.value_type, defaults=defaults)}


def _given(**keywords: object) -> Schema:
    return {name: value for name, value in keywords.items() if value is not None}
