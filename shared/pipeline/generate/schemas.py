"""JSON Schemas (draft 7, which AsyncAPI's tools read) of structured CloudEvents, from the structs of their data.

Each schema stands alone: whoever has one file can check events of that type with it. Fields that it does not name are
allowed, since later versions may add some.
"""

from typing import Any, Final

import msgspec

from shared.api.generate.schema import object_schema
from shared.api.meta import ApiObject
from shared.cloudevents import CloudEvent

Schema = dict[str, Any]

DIALECT: Final = "http://json-schema.org/draft-07/schema#"

ATTRIBUTES: Final[dict[str, Schema]] = {
    "specversion": {"type": "string", "const": "1.0"},
    "id": {"type": "string", "minLength": 1, "description": "With source, the identity of the event."},
    "source": {"type": "string", "format": "uri-reference", "minLength": 1, "description": "Who says it."},
    "subject": {"type": "string", "description": "What it is about."},
    "time": {"type": "string", "format": "date-time", "description": "When it became true."},
    "datacontenttype": {"type": "string", "const": CloudEvent.__struct_defaults__[2]},
}
"""The attributes that every event may have; CloudEvents 1.0.2, section "Context Attributes"."""

REQUIRED: Final = ("specversion", "id", "source", "type", "data")


class Exchanged(msgspec.Struct, frozen=True, kw_only=True):
    """A type of CloudEvent that Moorage takes or gives.

    `data`: the struct of its data. `always`: the attributes that it has beside those that every event has.
    `extensions`: schemas of its extension attributes. `given`: schemas of fields of the data that their types do not
    tell, such as a manifest.
    """

    data: type[msgspec.Struct]
    type: str
    always: tuple[str, ...] = ()
    extensions: dict[str, Schema] = {}
    given: dict[str, Schema] = {}

    @property
    def file(self) -> str:
        """Its schema, below docs/reference."""
        return f"schemas/{self.type}.json"


def meaning(data: type[msgspec.Struct]) -> str:
    """What an event says: the docstring of its data, as one paragraph."""
    return " ".join((data.__doc__ or "").split())


def event_schema(kind: Exchanged) -> Schema:
    """The schema of the whole event."""
    _, components = msgspec.json.schema_components([kind.data], ref_template="#/definitions/{name}")
    components[kind.data.__name__]["properties"] |= kind.given
    properties = {**ATTRIBUTES, **kind.extensions, "data": {"$ref": f"#/definitions/{kind.data.__name__}"}}
    return {
        "$schema": DIALECT,
        "title": kind.type,
        "description": meaning(kind.data),
        "type": "object",
        "required": [*REQUIRED, *kind.always],
        "properties": {"type": {"type": "string", "const": kind.type}, **properties},
        "definitions": _plain(components),
    }


def manifest_schema(kind: type[ApiObject]) -> Schema:
    """The schema of a manifest as people write it: names, labels, annotations and spec, without what only API servers
    and Moorage write, or read (the keywords `x-kubernetes-*`)."""
    schema: Schema = _plain(object_schema(kind))
    properties = {name: each for name, each in schema["properties"].items() if name != "status"}
    texts = {"type": "object", "additionalProperties": {"type": "string"}}
    names = {"name": {"type": "string"}, "namespace": {"type": "string"}, "labels": texts, "annotations": texts}
    metadata = {"type": "object", "required": ["name", "namespace"], "properties": names, "additionalProperties": False}
    return {**schema, "required": ["metadata", "spec"], "properties": {**properties, "metadata": metadata}}


def _plain(node: Any) -> Any:
    if isinstance(node, dict):
        return {name: _plain(each) for name, each in node.items() if not name.startswith("x-kubernetes-")}
    return [_plain(each) for each in node] if isinstance(node, list) else node
