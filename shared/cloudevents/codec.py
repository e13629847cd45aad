"""CloudEvents to and from the payload and headers of a NATS message, in both modes.

Structured: the payload is the event as JSON, and the header `content-type` says so; nobody needs to read headers.
Binary: the payload is the data, `content-type` is that of the data, and each attribute is a header `ce-<name>`.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes

import msgspec

from shared.cloudevents.event import CONTEXT, MOST_BYTES, CloudEvent, InvalidEvent, checked, is_json

CONTENT_TYPE: Final = "content-type"
STRUCTURED: Final = "application/cloudevents+json"
"""The content type of an event in structured mode."""

_PREFIX = "ce-"
_FORMATS = "application/cloudevents"
# Headers are percent-encoded but for what can be printed in ASCII, without space, quotation mark and percent sign.
_PLAIN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')

_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_VALUE = msgspec.json.Decoder(str | bool | int | None)
_TEXT = msgspec.json.Decoder(str)


def parse(payload: bytes, headers: Mapping[str, str]) -> CloudEvent:
    """The event in a message of either mode. Without any header of ours it is read as a structured one.

    Raises:
        InvalidEvent: it is none, or too large.
    """
    size = len(payload) + sum(len(name) + len(value) for name, value in headers.items())
    if size > MOST_BYTES:
        raise InvalidEvent(f"an event may have {MOST_BYTES} bytes, and this one has {size}")
    ours = {name.lower(): value for name, value in headers.items()}
    content_type = ours.get(CONTENT_TYPE, "").strip()
    if content_type.lower().startswith(_FORMATS):
        if content_type.partition(";")[0].strip().lower() != STRUCTURED:
            raise InvalidEvent(f"content type {content_type[:64]!r}: of structured events only {STRUCTURED} is read")
        return _structured(payload)
    if any(name.startswith(_PREFIX) for name in ours):
        return _binary(payload, ours, content_type)
    return _structured(payload)


def structured(event: CloudEvent) -> bytes:
    """The event as a payload in structured mode. The message may have the header `CONTENT_TYPE: STRUCTURED`."""
    members: dict[str, Any] = {"specversion": "1.0", **_attributes(event)}
    if event.data:
        if event.has_json:
            members["data"] = msgspec.Raw(event.data)
        else:
            members["data_base64"] = base64.b64encode(event.data).decode()
    return msgspec.json.encode(members)


def binary(event: CloudEvent) -> tuple[bytes, dict[str, str]]:
    """The event as a payload and headers in binary mode."""
    headers = {f"{_PREFIX}specversion": "1.0"}
    for name, value in _attributes(event).items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        headers[CONTENT_TYPE if name == "datacontenttype" else f"{_PREFIX}{name}"] = quote(text, safe=_PLAIN)
    return event.data, headers


def _attributes(event: CloudEvent) -> dict[str, Any]:
    """What the event has, without what is empty."""
    context = {name: value for name in CONTEXT if (value := getattr(event, name))}
    return {**context, **event.extensions}


def _structured(payload: bytes) -> CloudEvent:
    members = _members(payload)
    data, data_base64 = members.pop("data", None), members.pop("data_base64", None)
    attributes: dict[str, Any] = {}
    for name, raw in members.items():
        try:
            value = _VALUE.decode(raw)
        except msgspec.DecodeError:
            raise InvalidEvent(
                f"attribute {name[:64]!r} must be a string, a boolean or an integer", attributes
            ) from None
        if value is not None:  # the same as no such member
            attributes[name] = value
    if data is not None and data_base64 is not None:
        raise InvalidEvent("it has both data and data_base64", attributes)
    try:
        content = _decoded(data_base64) if data_base64 is not None else _data(data, attributes)
    except InvalidEvent as error:
        raise InvalidEvent(str(error), attributes) from None
    return checked(attributes, content)


def _members(payload: bytes) -> dict[str, msgspec.Raw]:
    try:
        payload.decode()  # what is skipped as a raw value is not looked at
        return _MEMBERS.decode(payload)
    except UnicodeDecodeError as error:
        raise InvalidEvent(f"no event in JSON: not UTF-8, at byte {error.start}") from None
    except RecursionError:
        raise InvalidEvent("no event in JSON: nested too deeply") from None
    except msgspec.DecodeError as error:
        raise InvalidEvent(f"no event in JSON: {error}") from None


def _data(raw: msgspec.Raw | None, attributes: Mapping[str, Any]) -> bytes:
    if raw is None or bytes(raw) == b"null":
        return b""
    if not is_json(str(attributes.get("datacontenttype") or "application/json")):
        try:
            return _TEXT.decode(raw).encode()
        except msgspec.DecodeError:
            raise InvalidEvent("its data are no string, and datacontenttype is not JSON") from None
    return bytes(raw)


def _decoded(raw: msgspec.Raw) -> bytes:
    try:
        return base64.b64decode(_TEXT.decode(raw), validate=True)
    except (msgspec.DecodeError, binascii.Error, ValueError):
        raise InvalidEvent("data_base64 must be a string in base64") from None


def _binary(payload: bytes, headers: Mapping[str, str], content_type: str) -> CloudEvent:
    attributes: dict[str, Any] = {"datacontenttype": content_type} if content_type else {}
    for name, value in headers.items():
        if name.startswith(_PREFIX):
            try:
                attributes[name.removeprefix(_PREFIX)] = unquote_to_bytes(value).decode()
            except UnicodeDecodeError:
                raise InvalidEvent(f"header {name[:64]!r} is not UTF-8", attributes) from None
    return checked(attributes, payload)
