"""The few Kubernetes protobuf messages that kubectl sends whatever a server would rather have. Pure.

Field numbers: `generated.proto` of k8s.io/api and k8s.io/apimachinery. A field that is not in the tables is refused,
never dropped.
"""

import base64
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from services.sandbox.errors import Document

MAGIC = b"k8s\x00"
STRING, STRINGS, MAP, BYTES_MAP, IGNORED = "string", "strings", "map", "bytes map", "ignored"
Message = Mapping[int, tuple[str, Any]]


class Many(NamedTuple):
    """A field that is there many times, each a message of this table."""

    table: Message


_META: Message = {
    1: ("name", STRING),
    2: ("generateName", STRING),
    3: ("namespace", STRING),
    4: ("selfLink", IGNORED),
    5: ("uid", IGNORED),
    6: ("resourceVersion", IGNORED),
    7: ("generation", IGNORED),
    8: ("creationTimestamp", IGNORED),
    11: ("labels", MAP),
    12: ("annotations", MAP),
}
_ASKED: Message = dict(
    enumerate(
        ((name, STRING) for name in ("namespace", "verb", "group", "version", "resource", "subresource", "name")), 1
    )
)
_ACCESS: Message = {
    1: ("resourceAttributes", _ASKED),
    2: ("nonResourceAttributes", {1: ("path", STRING), 2: ("verb", STRING)}),
}
_RULE: Message = dict(
    enumerate(((name, STRINGS) for name in ("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs")), 1)
)
_SUBJECT: Message = dict(enumerate(((name, STRING) for name in ("kind", "apiGroup", "name", "namespace")), 1))
_ROLE: Message = {1: ("metadata", _META), 2: ("rules", Many(_RULE))}
_BINDING: Message = {
    1: ("metadata", _META),
    2: ("subjects", Many(_SUBJECT)),
    3: ("roleRef", {1: ("apiGroup", STRING), 2: ("kind", STRING), 3: ("name", STRING)}),
}
_KINDS: Mapping[str, Message] = {
    "Role": _ROLE,
    "ClusterRole": _ROLE,
    "RoleBinding": _BINDING,
    "ClusterRoleBinding": _BINDING,
    "Namespace": {1: ("metadata", _META), 2: ("spec", {}), 3: ("status", IGNORED)},
    "ConfigMap": {1: ("metadata", _META), 2: ("data", MAP)},
    "Secret": {1: ("metadata", _META), 2: ("data", BYTES_MAP), 3: ("type", STRING), 4: ("stringData", MAP)},
    "ServiceAccount": {1: ("metadata", _META)},
    "SelfSubjectAccessReview": {1: ("metadata", _META), 2: ("spec", _ACCESS), 3: ("status", IGNORED)},
    "SelfSubjectReview": {1: ("metadata", _META), 2: ("status", IGNORED)},
    "SelfSubjectRulesReview": {1: ("metadata", _META), 2: ("spec", {1: ("namespace", STRING)}), 3: ("status", IGNORED)},
}
_TYPE: Message = {1: ("apiVersion", STRING), 2: ("kind", STRING)}


def decode(body: bytes) -> Document:
    """The object of an envelope. Raises ValueError where it is broken or not one of the kinds above."""
    if not body.startswith(MAGIC):
        raise ValueError("the protobuf envelope is missing")
    parts = dict(_fields(body[len(MAGIC) :]))
    kind = _message(parts.get(1, b""), _TYPE)
    table = _KINDS.get(kind.get("kind", ""))
    if table is None:
        raise ValueError(f"{kind.get('kind')} is not accepted as protobuf")
    return {**kind, **_message(parts.get(2, b""), table)}


def _message(content: bytes, table: Message) -> Document:
    result: Document = {}
    for number, value in _fields(content):
        if number not in table:
            raise ValueError(f"field {number} is not accepted as protobuf")
        name, kind = table[number]
        if kind == STRING:
            if value:
                result[name] = value.decode()
        elif kind in (MAP, BYTES_MAP):
            pair = dict(_fields(value))
            item = pair.get(2, b"")
            shown = base64.b64encode(item) if kind == BYTES_MAP else item
            result.setdefault(name, {})[pair.get(1, b"").decode()] = shown.decode()
        elif kind == STRINGS:
            result.setdefault(name, []).append(value.decode())
        elif isinstance(kind, Many):
            result.setdefault(name, []).append(_message(value, kind.table))
        elif kind != IGNORED:
            result[name] = _message(value, kind)
    return result


def _fields(content: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(content):
        tag, position = _varint(content, position)
        wire = tag & 7
        if wire == 0:
            _, position = _varint(content, position)
            yield tag >> 3, b""  # no number matters in these messages
        elif wire == 2:
            length, position = _varint(content, position)
            if position + length > len(content):
                raise ValueError("the protobuf message is cut off")
            yield tag >> 3, content[position : position + length]
            position += length
        else:
            raise ValueError(f"protobuf wire type {wire} is not accepted")


def _varint(content: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(content) and shift < 64:
        byte = content[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
    raise ValueError("the protobuf message is cut off")
