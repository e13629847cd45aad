"""Errors of talking to an API server. Those of sockets and TLS never leave this package.

Nothing here repeats what a server sent, but for the words of a Kubernetes Status: where a tenant chose the server, it
may be one of somebody else's that is not for the tenant's eyes.
"""

from typing import Any

import msgspec

from shared.kube.text import told

NO_STATUS = "the answer is no Kubernetes Status"
_MOST_CAUSES = 256
_WORD = 128  # bytes of a reason
_NAME = 253  # bytes of an object's name: what is cut names another object
_WORKSPACES = ("tenancy.kcp.io", "workspaces")  # of which no object has a name with a colon
_LONGEST_WAIT = 3600.0  # seconds that a server may ask us to wait


MALFORMED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""Raised by decoding a body that is not what it should be: the last two where it is no UTF-8, or nested too deeply."""


class KubeError(Exception):
    """Base of everything that `shared.kube` raises."""


class ConfigError(KubeError):
    """Credentials cannot be read or used; the message says which and why, and holds no secret."""


class NotAllowed(ConfigError):
    """The credentials lead where the operator does not allow us to go. The message does not say what is there."""


class Unreachable(KubeError):
    """No complete answer: refused, reset, timed out, TLS failed, or a stream that broke."""


class Closed(Unreachable):
    """The client was closed: asking it again is of no use, another one may be."""


class TooLarge(Unreachable):
    """The server sent more than we take from it."""


class ApiError(KubeError):
    """The server answered with something other than success.

    `status` is the HTTP status, `reason` the machine-readable word of the Kubernetes Status (`NotFound`, `Conflict`;
    empty where the body was no Status), `details` its details, `retry_after` the seconds that the server asks us to
    wait.
    """

    def __init__(
        self,
        status: int,
        reason: str = "",
        message: str = "",
        details: dict[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(status, reason, message)
        self.status = status
        self.reason = reason
        self.message = message
        self.details = details or {}
        self.retry_after = retry_after

    def __str__(self) -> str:
        return " ".join(str(part) for part in (self.status, self.reason, self.message) if part)

    @property
    def unauthorized(self) -> bool:
        return self.status == 401

    @property
    def forbidden(self) -> bool:
        """We may not, or there is nothing that we might: see `unknown_workspace`."""
        return self.status == 403 or self.unknown_workspace

    @property
    def not_found(self) -> bool:
        """The kind is not served, or there is no such object, in a workspace that is there."""
        return self.status == 404 and not self.unknown_workspace

    @property
    def unknown_workspace(self) -> bool:
        """kcp does not know the workspace of the request, by its path. It says so with a 404 that names that path,
        whatever was asked for; but it may only have not heard of it yet. So it counts as a refusal: as no word about
        anything in it, nor about the workspace, of which its parent alone can say that it is gone."""
        kind = self.details.get("group"), self.details.get("kind")
        return self.status == 404 and kind == _WORKSPACES and ":" in self.details.get("name", "")

    def absent(self, name: str) -> bool:
        """True if there is certainly no object of this name.

        A 404 that does not name it may mean that the kind is not served (yet): its CRD is being replaced, or the API
        server has only just begun.
        """
        return self.not_found and self.details.get("name") == name

    @property
    def already_exists(self) -> bool:
        return self.status == 409 and self.reason == "AlreadyExists"

    @property
    def conflict(self) -> bool:
        """A stale resourceVersion, a failed precondition, or fields that another manager owns."""
        return self.status == 409 and self.reason != "AlreadyExists"

    @property
    def gone(self) -> bool:
        """The version or the `continue` token has expired: list again."""
        return self.status == 410

    @property
    def invalid(self) -> bool:
        return self.status == 422

    @property
    def too_many_requests(self) -> bool:
        return self.status == 429

    @property
    def transient(self) -> bool:
        """Worth another try with the same request, later."""
        return self.status in {408, 429} or self.status >= 500


class _Cause(msgspec.Struct):
    reason: str = ""
    message: str = ""
    field: str = ""


class _Details(msgspec.Struct, rename={"retry_after": "retryAfterSeconds"}):
    name: str = ""
    group: str = ""
    kind: str = ""
    uid: str = ""
    causes: list[_Cause] | None = None
    retry_after: int = 0

    def told(self) -> dict[str, Any]:
        """The message, as the JSON has it, within bounds."""
        found: dict[str, Any] = {
            name: told(value, _NAME) for name in ("name", "group", "kind", "uid") if (value := getattr(self, name))
        }
        if self.causes:
            found["causes"] = [
                {"reason": told(each.reason, _WORD), "message": told(each.message), "field": told(each.field)}
                for each in self.causes[:_MOST_CAUSES]
            ]
        return found


class _Status(msgspec.Struct, rename={"api_version": "apiVersion"}):
    kind: str
    api_version: str
    code: int = 0
    reason: str = ""
    message: str = ""
    details: _Details | None = None


_STATUS = msgspec.json.Decoder(_Status)
_NONE = _Status(kind="", api_version="", message=NO_STATUS)


def from_response(status: int, body: bytes, retry_after: str | None = None) -> ApiError:
    """The error that a response stands for. Of a body that is no Status, nothing is kept."""
    found = _status(body)
    details = found.details or _Details()
    seconds = _seconds(retry_after)
    if seconds is None:
        seconds = _seconds(str(details.retry_after))
    return ApiError(status, told(found.reason, _WORD), told(found.message), details.told(), seconds)


def from_event(raw: bytes | msgspec.Raw) -> ApiError:
    """The error that an ERROR event of a watch stands for."""
    error = from_response(0, bytes(raw))
    error.status = _status(bytes(raw)).code or 500
    return error


def _status(body: bytes) -> _Status:
    """The Status in a body; one that says nothing where there is none, as proxies answer with HTML or text."""
    try:
        found = _STATUS.decode(body)
    except MALFORMED:
        return _NONE
    return found if (found.kind, found.api_version) == ("Status", "v1") else _NONE


def _seconds(value: str | None) -> float | None:
    """Retry-After in seconds. The HTTP date form is not used by API servers and counts as absent."""
    if value is None or not value.strip().isdecimal():
        return None
    seconds = min(float(value), _LONGEST_WAIT)
    return seconds or None
