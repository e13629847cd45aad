"""Transport-neutral requests and responses, and the reading of bodies."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import yaml

from services.sandbox import errors
from services.sandbox.data import LOADER
from services.sandbox.errors import ApiError, Document
from services.sandbox.state.store import encode
from services.sandbox.wire import media, protobuf
from services.sandbox.wire.duplicates import duplicates

BODY_LIMIT = 3 * 1024 * 1024
YAML_LIMIT = 256 * 1024  # it takes a hundred times as long to read as JSON


@dataclass(slots=True)
class Request:
    """Header names are in lower case; `path` is percent-decoded."""

    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def flag(self, name: str) -> bool:
        return self.query.get(name, "").lower() in ("true", "1")

    def number(self, name: str) -> int:
        """A query parameter that is a whole number, 0 where absent. Raises ApiError 400."""
        text = self.query.get(name) or "0"
        if not text.isdigit() or len(text) > 18:
            raise errors.bad_request(f'strconv.ParseInt: parsing "{text[:50]}": invalid syntax')
        return int(text)

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(slots=True)
class Response:
    """`stream`, where present, follows instead of `body`."""

    status: int
    body: bytes = b""
    content_type: str = media.JSON
    headers: dict[str, str] = field(default_factory=dict)
    stream: AsyncIterator[bytes] | None = None


def _number(text: str) -> int | float:
    """A JSON number with a fraction or an exponent; if it is whole, clients see it as the integer that it is."""
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"number out of range: {text[:50]}")
    return int(value) if value.is_integer() else value


_decode = msgspec.json.Decoder(float_hook=_number).decode


def answer(document: Any, status: int = 200) -> Response:
    return Response(status, encode(document))


def refusal(error: ApiError) -> Response:
    """The Status of an error; 401, 429 and 503 say what a client can do about it."""
    headers = {401: {"www-authenticate": "Bearer"}, 503: {"retry-after": "1"}}.get(error.code, {})
    if wait := (error.details or {}).get("retryAfterSeconds"):
        headers = {"retry-after": str(wait)}
    return Response(error.code, encode(error.status()), headers=headers)


def _yaml(text: bytes) -> Any:
    """A YAML value. Aliases, by which a small document could unfold into a huge one, are refused."""
    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, LOADER)):
        raise errors.bad_request("YAML aliases are not accepted")
    return yaml.load(text, LOADER)  # noqa: S506 - a safe loader


def parse(request: Request) -> Any:
    """The value of the body. Raises ApiError 400, 413 or 415."""
    if len(request.body) > BODY_LIMIT:
        raise errors.too_large(BODY_LIMIT)
    media_type = request.media_type or media.JSON
    accepted = media.PATCHES if request.method == "PATCH" else (media.JSON, media.YAML, media.PROTOBUF)
    if media_type not in accepted:
        raise errors.unsupported_media_type(media_type, accepted)
    if media_type == media.PROTOBUF:
        try:
            return protobuf.decode(request.body)
        except ValueError as error:
            raise errors.unsupported_media_type(f"{media_type}: {error}", (media.JSON, media.YAML)) from error
    try:
        value = _decode(request.body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        if media_type not in (media.YAML, media.APPLY_PATCH):
            raise errors.bad_request(f"the body is not valid JSON: {error}") from error
    else:
        if request.query.get("fieldValidation") == "Strict" and (twice := duplicates(request.body)):
            listed = ", ".join(f'duplicate field "{path}"' for path in twice)
            raise errors.bad_request(f"strict decoding error: {listed}")
        return value
    if len(request.body) > YAML_LIMIT:
        raise errors.too_large(YAML_LIMIT)
    try:
        return _yaml(request.body)
    except (yaml.YAMLError, RecursionError, UnicodeDecodeError, ValueError) as error:
        raise errors.bad_request(f"the body is not valid YAML: {str(error)[:300]}") from error


def check_accept(request: Request) -> None:
    """Raise ApiError 406 where the client takes nothing that we have."""
    accepted = request.headers.get("accept", "")
    if accepted and not any(kind in accepted for kind in ("json", "*/*", "application/*", "protobuf", "yaml", "text")):
        raise ApiError(406, "NotAcceptable", f"only the following media types are accepted: {media.JSON}")


def parse_object(request: Request) -> Document:
    """The body as an object; null is an empty one."""
    document = parse(request)
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise errors.bad_request("the body must be an object")
    return document
