"""Every refusal as a Kubernetes `Status`, in the words that an API server uses."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple, Self

import msgspec

_encode = msgspec.json.Encoder(order="sorted").encode
Document = dict[str, Any]


class Cause(NamedTuple):
    """One invalid field: `reason` as in `StatusCause` (FieldValueRequired, FieldManagerConflict ...)."""

    reason: str
    field: str
    message: str

    @classmethod
    def invalid(cls, field: str, said: str) -> Self:
        return cls("FieldValueInvalid", field, f"Invalid value: {said}")

    @classmethod
    def required(cls, field: str, said: str = "") -> Self:
        return cls("FieldValueRequired", field, f"Required value: {said}".removesuffix(": "))

    @classmethod
    def unsupported(cls, field: str, said: str) -> Self:
        return cls("FieldValueNotSupported", field, f"Unsupported value: {said}")


class ApiError(Exception):
    """An answer other than success; `code` is the HTTP status, `reason` the machine-readable word."""

    def __init__(self, code: int, reason: str, message: str, details: Document | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    def status(self) -> Document:
        """The body of the answer."""
        body: Document = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            **({"reason": self.reason} if self.reason else {}),
            "code": self.code,
        }
        return body if self.details is None else {**body, "details": self.details}


def _named(resource: str, name: str, **more: Any) -> Document:
    plural, _, group = resource.partition(".")
    return {"name": name, **({"group": group} if group else {}), "kind": plural, **more}


def _causes(causes: Sequence[Cause]) -> list[Document]:
    return [{"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in causes]


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def undecodable(kind: str, version: str, why: str, patched: Document | None) -> ApiError:
    """A body, or what a patch makes of an object, that cannot be read as its kind."""
    if patched is None:
        return bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {why}')
    quoted = _encode(_encode(patched).decode()).decode()
    return invalid("", "", "", [Cause.invalid("patch", f"{quoted}: {why}")])


def rejected() -> ApiError:
    """A JSON patch that does not fit the object."""
    return ApiError(422, "Invalid", "the server rejected our request due to an error in our request", {})


def not_applicable(what: str, problems: Sequence[str]) -> ApiError:
    """A configuration that the kind's schema has no place for; `what` names object and kind."""
    listed = problems[0] if len(problems) == 1 else "\n  ".join(["errors:", *problems])
    return ApiError(500, "", f"failed to create typed patch object ({what}): {listed}")


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")


def forbidden(message: str, resource: str = "", name: str = "") -> ApiError:
    return ApiError(403, "Forbidden", message, _named(resource, name) if resource else None)


def no_such_path() -> ApiError:
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def not_found(resource: str, name: str) -> ApiError:
    return ApiError(404, "NotFound", f'{resource} "{name}" not found', _named(resource, name))


def method_not_allowed() -> ApiError:
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def already_exists(resource: str, name: str, *, dying: bool = False) -> ApiError:
    message = f'{resource} "{name}" already exists'
    return ApiError(
        409, "AlreadyExists", f"object is being deleted: {message}" if dying else message, _named(resource, name)
    )


def conflict(resource: str, name: str, why: str = "") -> ApiError:
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {resource} "{name}": {why}'
    return ApiError(409, "Conflict", message, _named(resource, name))


def apply_conflict(causes: Sequence[Cause]) -> ApiError:
    """Fields that others own; each cause names the manager and the field. Those of one manager follow each other."""
    if len(causes) == 1:
        message = f"Apply failed with 1 conflict: {causes[0].message}: {causes[0].field}"
    else:
        message = f"Apply failed with {len(causes)} conflicts: "
        message += "\n".join(
            "\n- ".join([f"{said.replace('conflict', 'conflicts', 1)}:", *(cause.field for cause in found)])
            for said, found in groupby(causes, key=lambda cause: cause.message)
        )
    return ApiError(409, "Conflict", message, {"causes": _causes(causes)})


def expired(message: str) -> ApiError:
    return ApiError(410, "Expired", message)


def too_large(limit: int) -> ApiError:
    return ApiError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit}")


def unsupported_media_type(content_type: str, accepted: Sequence[str]) -> ApiError:
    message = f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}"
    return ApiError(415, "UnsupportedMediaType", f"{message} (got {content_type[:100]!r})")


def invalid(kind: str, group: str, name: str, causes: Sequence[Cause]) -> ApiError:
    """The object breaks its schema or a rule of its kind."""
    listed = ", ".join(f"{cause.field}: {cause.message}" for cause in causes)
    listed = f"[{listed}]" if len(causes) > 1 else listed
    qualified = f"{kind}.{group}" if group else kind
    named = {word: value for word, value in (("name", name), ("group", group), ("kind", kind)) if value}
    details = {**named, "causes": _causes(causes)}
    return ApiError(422, "Invalid", f'{qualified} "{name}" is invalid: {listed}', details)


def unavailable(what: str) -> ApiError:
    return ApiError(503, "ServiceUnavailable", f"{what} is currently unable to handle the request")
