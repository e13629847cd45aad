"""OpenAPI v2: what of a schema it has, and how it is encoded. kubectl reads it in tests/integration/sandbox."""

from services.sandbox.wire import openapi
from services.sandbox.wire.protobuf import _fields

KIND = {"group": "apps", "version": "v1", "kind": "Widget"}
STRUCTURE = {
    "type": "object",
    "required": ["spec"],
    "x-kubernetes-preserve-unknown-fields": True,
    "properties": {
        "spec": {"type": "object", "properties": {"size": {"type": "integer", "minimum": 1}}},
        "names": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "any": {"x-kubernetes-preserve-unknown-fields": True},
    },
}


def test_a_definition_has_types_fields_items_and_what_is_required() -> None:
    found = openapi.document("v1", [("com.Widget", "/apis/apps/v1/widgets/{name}", KIND, STRUCTURE)])
    assert found["definitions"]["com.Widget"] == {
        "type": "object",
        "required": ["spec"],
        "properties": {
            "spec": {"type": "object", "properties": {"size": {"type": "integer"}}},
            "names": {"type": "array", "items": {"type": "string"}},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "any": {},
        },
        "x-kubernetes-group-version-kind": [KIND],
    }


def test_as_protobuf_it_has_the_same_kinds() -> None:
    names = [f"com.{'W' * length}idget" for length in (1, 200)]  # the second has a length of two bytes
    found = openapi.document("v1", [(name, f"/{name}", KIND, STRUCTURE) for name in names])
    fields = dict(_fields(openapi.encoded(found)))
    assert fields[1] == b"2.0"
    definitions = [dict(_fields(each)) for number, each in _fields(fields[9]) if number == 1]
    assert [each[1].decode() for each in definitions] == names
    assert [number for number, _ in _fields(definitions[0][2])] == [19, 22, 25, 31]
