"""What can go wrong when talking to an API server. aiohttp's own errors never leave this package."""

from typing import Any

import msgspec

_TEXT_LIMIT = 300  # characters of a body that is no Status, kept for the message


class KubeError(Exception):
    """Base of everything that `shared.kube` raises."""


class ConfigError(KubeError):
    """Credentials cannot be read or used; the message says which and why, and holds no secret."""


class Unreachable(KubeError):
    """No complete answer: refused, reset, timed out, TLS failed, or a stream that broke."""


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
        return self.status == 403

    @property
    def not_found(self) -> bool:
        return self.status == 404

    def absent(self, name: str) -> bool:
        """Whether there is certainly no object of this name.

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


class _Status(msgspec.Struct):
    code: int = 0
    reason: str = ""
    message: str = ""
    details: dict[str, Any] | None = None


_STATUS = msgspec.json.Decoder(_Status)


def from_response(status: int, body: bytes, retry_after: str | None = None) -> ApiError:
    """The error that a response stands for. Proxies answer with HTML or text: then the text is the message."""
    seconds = _seconds(retry_after)
    try:
        parsed = _STATUS.decode(body)
    except msgspec.MsgspecError:
        text = " ".join(body[: 4 * _TEXT_LIMIT].decode("utf-8", "replace").split())
        return ApiError(status, "", text[:_TEXT_LIMIT], None, seconds)
    details = parsed.details or {}
    if seconds is None:
        seconds = _seconds(details.get("retryAfterSeconds"))
    return ApiError(status, parsed.reason, parsed.message, details, seconds)


def from_event(raw: bytes | msgspec.Raw) -> ApiError:
    """The error that an ERROR event of a watch stands for."""
    error = from_response(0, bytes(raw))
    try:
        error.status = _STATUS.decode(raw).code or 500
    except msgspec.MsgspecError:
        error.status = 500
    return error


def _seconds(value: object) -> float | None:
    """Retry-After in seconds. The HTTP date form is not used by API servers and counts as absent."""
    if not isinstance(value, str | int) or not str(value).strip().isdecimal():
        return None
    seconds = float(value)
    return seconds or None
