"""Errors of an API server, and what they answer."""

from typing import Any

import msgspec
import pytest

from shared.kube.errors import NO_STATUS, ApiError, from_event, from_response


def status(**more: Any) -> bytes:
    return msgspec.json.encode({"kind": "Status", "apiVersion": "v1", **more})


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
        (status(message="m", details={"retryAfterSeconds": 3}), None, "m", 3.0),
        (status(message="m", details={"retryAfterSeconds": 3}), "5", "m", 5.0),
        (status(message="m", details={"retryAfterSeconds": 10**9}), None, "m", 3600.0),
        (status(message="m"), "9" * 400, "m", 3600.0),
        (status(message="m"), "Wed, 21 Oct 2026 07:28:00 GMT", "m", None),
        (status(message="a\nb\x1b[31m \u202edcba"), None, "a b [31m dcba", None),
        (status(message="x" * 5000), None, "x" * 1021 + "…", None),
        (status(message="ü" * 5000), None, "ü" * 510 + "…", None),
        (b"<html>\n  Bad   Gateway</html>", "0", NO_STATUS, None),
        (b"\xff" * 5000, None, NO_STATUS, None),
        (b'"text"', None, NO_STATUS, None),
        (b"", None, NO_STATUS, None),
        (b'{"message":"a secret"}', None, NO_STATUS, None),
        (b'{"kind":"Status","message":"a secret"}', None, NO_STATUS, None),
        (status(kind="Secret", message="a secret"), None, NO_STATUS, None),
        (status(apiVersion="v2", message="a secret"), None, NO_STATUS, None),
        (status(details={"name": 3}), None, NO_STATUS, None),
        (status()[:-1] + b',"more":' + b"[" * 100_000 + b"]" * 100_000 + b"}", None, NO_STATUS, None),
        (b'{"kind":"Status","apiVersion":"v1","message":"\xff"}', None, NO_STATUS, None),
    ],
)
def test_of_a_body_only_the_words_of_a_status_are_kept(body, header, message, retry_after):
    error = from_response(500, body, header)
    assert (error.status, error.message, error.retry_after) == (500, message, retry_after)


def test_details_are_kept_within_bounds():
    causes = [{"reason": "FieldManagerConflict", "message": "m" * 5000, "field": "\x1b.spec"}] * 1000
    given = {"name": "n" * 500, "kind": "deployments", "causes": causes, "other": {"deep": [1]}}
    found = from_response(409, status(reason="Conflict", details=given)).details
    assert set(found) == {"name", "kind", "causes"}
    assert len(found["name"].encode()) == 253
    assert len(found["causes"]) == 256
    assert found["causes"][0] == {"reason": "FieldManagerConflict", "message": "m" * 1021 + "…", "field": ".spec"}


def test_error_events_take_their_code_from_the_status():
    assert from_event(msgspec.Raw(status(code=410, reason="Expired"))).gone
    assert from_event(b'{"code":410}').status == 500
    assert from_event(b"[]").status == 500
    assert from_event(b"{}").status == 500


def test_an_object_of_the_longest_name_is_known_to_be_absent():
    longest = "p" * 253
    found = from_response(404, status(code=404, reason="NotFound", details={"name": longest}))
    assert found.absent(longest)


@pytest.mark.parametrize(
    ("kind", "name", "unknown"),
    [
        ("workspaces", "root:team", True),
        ("workspaces", "team", False),
        ("clusterroles", "system:admin", False),
        ("workspaces", "", False),
    ],
)
def test_a_workspace_that_kcp_does_not_know_by_its_path_refuses_us_and_is_no_word_about_what_is_in_it(
    kind: str, name: str, unknown: bool
) -> None:
    details = {"name": name, "group": "tenancy.kcp.io", "kind": kind}
    body = {"kind": "Status", "apiVersion": "v1", "code": 404, "reason": "NotFound", "details": details}
    error = from_response(404, msgspec.json.encode(body))
    assert (error.unknown_workspace, error.forbidden, error.not_found) == (unknown, unknown, not unknown)
