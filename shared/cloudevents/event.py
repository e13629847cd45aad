"""A CloudEvent, and what is checked of one that comes from strangers."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

Attribute = str | bool | int
"""The value of an extension attribute. Binary data, URIs and timestamps are strings."""

MOST_BYTES: Final = 1 << 20
"""Of a whole event, payload and headers together."""

MOST_EXTENSIONS: Final = 32
LONGEST_ATTRIBUTE: Final = 2048
"""Characters."""

_NAME = re.compile(r"[a-z0-9]{1,64}")
# Control characters and what Unicode will never assign a character to: forbidden in strings (section "Type System").
_FORBIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
    + "]"
)
_JSON = re.compile(r"[^/;\s]+/([^/;\s]+\+)?json\s*(;.*)?", re.IGNORECASE | re.DOTALL)
_INTEGERS = range(-(2**31), 2**31)


class InvalidEvent(ValueError):
    """No valid CloudEvent; the message says what is wrong, in one line.

    `attributes` are those that could be read, unchecked, so that whoever sent it can be told.
    """

    def __init__(self, reason: str, attributes: Mapping[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.attributes: Mapping[str, Any] = attributes or {}


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event. `source` and `id` together are its identity; `type` says what happened, `subject` to what.

    `time` is in RFC 3339; it, `subject` and `dataschema` are empty where the event has none. `data` is in the encoding
    that `datacontenttype` names; where that is JSON, as it is unless something else is said, it is valid JSON text.
    """

    id: str
    source: str
    type: str
    subject: str = ""
    time: str = ""
    datacontenttype: str = "application/json"
    dataschema: str = ""
    extensions: dict[str, Attribute] = {}
    data: bytes = b""

    @property
    def has_json(self) -> bool:
        """True if its data are JSON text."""
        return is_json(self.datacontenttype)


def is_json(content_type: str) -> bool:
    """True for `application/json`, `text/json` and whatever ends in `+json`, with or without parameters."""
    return _JSON.fullmatch(content_type.strip()) is not None


CONTEXT: Final = ("id", "source", "type", "subject", "time", "datacontenttype", "dataschema")
"""The context attributes of the specification, but for `specversion`, which is always 1.0."""


def checked(attributes: Mapping[str, Any], data: bytes) -> CloudEvent:
    """The event that has these attributes (`specversion` among them) and data. Raises InvalidEvent."""
    try:
        return _checked(attributes, data)
    except InvalidEvent as error:
        raise InvalidEvent(str(error), attributes) from None


def _checked(attributes: Mapping[str, Any], data: bytes) -> CloudEvent:
    if attributes.get("specversion") != "1.0":
        raise InvalidEvent("attribute specversion must be 1.0")
    for name in ("id", "source", "type"):
        if not attributes.get(name):
            raise InvalidEvent(f"attribute {name} is missing, or empty")
    if len(attributes) > len(CONTEXT) + 1 + MOST_EXTENSIONS:
        raise InvalidEvent(f"it has more than {MOST_EXTENSIONS} extension attributes")
    for name, value in attributes.items():
        _check_attribute(name, value)
    if time := attributes.get("time"):
        _check_time(time)
    context = {name: attributes[name] for name in CONTEXT if name in attributes}
    extensions = {name: value for name, value in attributes.items() if name not in (*CONTEXT, "specversion")}
    event = CloudEvent(**context, extensions=extensions, data=data)
    if event.has_json and data:
        _check_json(data)
    return event


def _check_attribute(name: str, value: Any) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidEvent(f"attribute {name[:64]!r}: a name is of lower-case letters and digits, of 64 at most")
    if isinstance(value, str):
        if len(value) > LONGEST_ATTRIBUTE:
            raise InvalidEvent(f"attribute {name} has more than {LONGEST_ATTRIBUTE} characters")
        if _FORBIDDEN.search(value):
            raise InvalidEvent(f"attribute {name} has a control character, or one that Unicode does not have")
    elif name in CONTEXT or not isinstance(value, bool | int):
        raise InvalidEvent(f"attribute {name} must be a string")
    elif not isinstance(value, bool) and value not in _INTEGERS:
        raise InvalidEvent(f"attribute {name} must be an integer of 32 bits")


def _check_time(time: str) -> None:
    try:
        # RFC 3339 asks for an offset, and ISO 8601 does not.
        valid = msgspec.convert(time, datetime).tzinfo is not None
    except msgspec.ValidationError:
        valid = False
    if not valid:
        raise InvalidEvent("attribute time must be a time in RFC 3339, with an offset")


def _check_json(data: bytes) -> None:
    try:
        data.decode()
        msgspec.json.decode(data, type=msgspec.Raw)
    except UnicodeDecodeError as error:
        raise InvalidEvent(f"its data are not UTF-8, at byte {error.start}") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidEvent(f"its data are not JSON: {error}") from None
