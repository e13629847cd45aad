"""Errors of an API server, and what they answer."""

import msgspec
import pytest

from shared.kube.errors import ApiError, from_event, from_response


@pytest.mark.parametrize(
    ("status", "reason", "true"),
    [
        (401, "Unauthorized", {"unauthorized"}),
        (403, "Forbidden", {"forbidden"}),
        (404, "NotFound", {"not_found"}),
        (409, "AlreadyExists", {"already_exists"}),
        (409, "Conflict", {"conflict"}),
        (410, "Expired", {"gone"}),
        (422, "Invalid", {"invalid"}),
        (429, "TooManyRequests", {"too_many_requests", "transient"}),
        (503, "ServiceUnavailable", {"transient"}),
    ],
)
def test_errors_answer_what_they_are(status, reason, true):
    questions = ("unauthorized", "forbidden", "not_found", "already_exists", "conflict", "gone", "invalid")
    error = ApiError(status, reason, "why")
    assert {name for name in (*questions, "too_many_requests", "transient") if getattr(error, name)} == true
    assert str(error) == f"{status} {reason} why"


@pytest.mark.parametrize(
    ("body", "header", "message", "retry_after"),
    [
        (b'{"reason":"X","message":"m","details":{"retryAfterSeconds":3}}', None, "m", 3.0),
        (b'{"reason":"X","message":"m","details":{"retryAfterSeconds":3}}', "5", "m", 5.0),
        (b'{"reason":"X","message":"m"}', "Wed, 21 Oct 2026 07:28:00 GMT", "m", None),
        (b"<html>\n  Bad   Gateway</html>", "0", "<html> Bad Gateway</html>", None),
        (b"\xff" * 5000, None, "\ufffd" * 300, None),
        (b'"text"', None, '"text"', None),
        (b"", None, "", None),
    ],
)
def test_any_body_makes_an_error(body, header, message, retry_after):
    error = from_response(500, body, header)
    assert (error.status, error.message, error.retry_after) == (500, message, retry_after)


def test_error_events_take_their_code_from_the_status():
    assert from_event(msgspec.Raw(b'{"code":410,"reason":"Expired"}')).gone
    assert from_event(b"[]").status == 500
    assert from_event(b"{}").status == 500
