"""The few Kubernetes protobuf messages that kubectl sends whatever a server would rather have. Pure.

`protobuf.yaml` has their fields; a field that is not there is refused, never dropped.
"""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from services.sandbox.data import load
from services.sandbox.errors import Document

MAGIC = b"k8s\x00"
_KINDS = load(Path(__file__).with_name("protobuf.yaml"))["kinds"]
_TYPE = {1: {"apiVersion": "string"}, 2: {"kind": "string"}}


def decode(body: bytes) -> Document:
    """The object of an envelope. Raises ValueError where it is broken or not one of the known kinds."""
    if not body.startswith(MAGIC):
        raise ValueError("the protobuf envelope is missing")
    parts = dict(_fields(body[len(MAGIC) :]))
    head = _message(parts.get(1, b""), _TYPE)
    if head.get("kind") not in _KINDS:
        raise ValueError(f"{head.get('kind')} is not accepted as protobuf")
    return {**head, **_message(parts.get(2, b""), _KINDS[head["kind"]])}


def _message(content: bytes, table: Any) -> Document:
    result: Document = {}
    for number, value in _fields(content):
        if number not in table:
            raise ValueError(f"field {number} is not accepted as protobuf")
        ((name, kind),) = table[number].items()
        match kind:
            case "map" | "bytes map":
                pair = dict(_fields(value))
                item = pair.get(2, b"")
                shown = base64.b64encode(item) if kind == "bytes map" else item
                result.setdefault(name, {})[pair.get(1, b"").decode()] = shown.decode()
            case [each]:
                result.setdefault(name, []).append(_value(value, each))
            case _ if kind != "ignored" and (value or kind != "string"):
                result[name] = _value(value, kind)
    return result


def _value(content: bytes, kind: Any) -> Any:
    return content.decode() if kind == "string" else _message(content, kind)


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
