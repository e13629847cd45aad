"""Every refusal as a Kubernetes `Status`, in the words that an API server uses."""

from collections.abc import Sequence
from typing import Any, NamedTuple

Document = dict[str, Any]


class Cause(NamedTuple):
    """One invalid field: `reason` as in `StatusCause` (FieldValueRequired, FieldManagerConflict ...)."""

    reason: str
    field: str
    message: str


class ApiError(Exception):
    """An answer other than success; `code` is the HTTP status, `reason` the machine-readable word."""

    def __init__(self, code: int, reason: str, message: str, details: Document | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details or {}

    def status(self) -> Document:
        """The body of the answer."""
        body: Document = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        return {**body, "details": self.details} if self.details else body


def _named(resource: str, name: str, **more: Any) -> Document:
    plural, _, group = resource.partition(".")
    return {"name": name, **({"group": group} if group else {}), "kind": plural, **more}


def _causes(causes: Sequence[Cause]) -> list[Document]:
    return [{"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in causes]


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def undecodable(kind: str, causes: Sequence[Cause]) -> ApiError:
    """A built-in kind whose fields are of other types: real servers cannot even read those."""
    listed = ", ".join(f"{cause.field}: {cause.message}" for cause in causes)
    return bad_request(f"{kind} in the body cannot be handled as a {kind}: json: cannot unmarshal: {listed}")


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")


def forbidden(message: str, resource: str = "", name: str = "") -> ApiError:
    return ApiError(403, "Forbidden", message, _named(resource, name) if resource else None)


def no_such_path() -> ApiError:
    return ApiError(404, "NotFound", "the server could not find the requested resource")


def not_found(resource: str, name: str) -> ApiError:
    return ApiError(404, "NotFound", f'{resource} "{name}" not found', _named(resource, name))


def method_not_allowed() -> ApiError:
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")


def already_exists(resource: str, name: str) -> ApiError:
    return ApiError(409, "AlreadyExists", f'{resource} "{name}" already exists', _named(resource, name))


def conflict(resource: str, name: str, why: str = "") -> ApiError:
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {resource} "{name}": {why}'
    return ApiError(409, "Conflict", message, _named(resource, name))


def apply_conflict(causes: Sequence[Cause]) -> ApiError:
    """Fields that other appliers own; each cause names the manager and the field."""
    noun = "conflict" if len(causes) == 1 else "conflicts"
    listed = ", ".join(f"{cause.message}: {cause.field}" for cause in causes)
    message = f"Apply failed with {len(causes)} {noun}: {listed}"
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
    details = {"name": name, "group": group, "kind": kind, "causes": _causes(causes)}
    return ApiError(422, "Invalid", f'{qualified} "{name}" is invalid: {listed}', details)


def unavailable(what: str) -> ApiError:
    return ApiError(503, "ServiceUnavailable", f"{what} is currently unable to handle the request")
