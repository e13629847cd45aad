"""What errors mean for a binding, and when a target is left alone."""

import pytest

from services.binding import errors
from services.binding.target.breaker import Breakers
from shared.kube.apis import UnknownKind
from shared.kube.errors import ApiError, ConfigError, Unreachable

CONFLICT = ApiError(
    409,
    "Conflict",
    "Apply failed with 2 conflicts",
    {
        "name": "web",
        "kind": "deployments",
        "causes": [
            {"reason": "FieldManagerConflict", "message": 'conflict with "kubectl" using apps/v1', "field": ".spec.b"},
            {"reason": "FieldManagerConflict", "message": 'conflict with "hpa"', "field": ".spec.replicas"},
            {"reason": "Other", "message": 'conflict with "nobody"'},
        ],
    },
)

TERMINATING = ApiError(403, "Forbidden", "no", {"causes": [{"reason": "NamespaceTerminating", "field": "metadata"}]})


@pytest.mark.parametrize(
    ("error", "condition", "reason", "lasting", "delay"),
    [
        (ApiError(403, "Forbidden", "no"), "PermissionGranted", "Forbidden", True, None),
        (TERMINATING, "Applied", "NamespaceTerminating", False, None),
        (CONFLICT, "ConflictFree", "FieldConflict", True, None),
        (ApiError(401, "Unauthorized", "who"), "Applied", "Unauthorized", False, None),
        (ApiError(429, "TooManyRequests", "slow", None, 7.0), "Applied", "Unavailable", False, 7.0),
        (ApiError(503, "ServiceUnavailable", "down"), "Applied", "Unavailable", False, None),
        (ApiError(422, "Invalid", "bad field"), "Applied", "Invalid", True, None),
        (ApiError(400, "", "bad"), "Applied", "Status400", True, None),
        (UnknownKind("Basket is not served"), "Applied", "UnknownKind", True, None),
        (ConfigError("Secret x has no key"), "Applied", "NoCredentials", True, None),
        (Unreachable("connection refused"), "Applied", "Unreachable", False, None),
    ],
)
def test_each_error_has_its_condition_and_its_patience(
    error: Exception, condition: str, reason: str, lasting: bool, delay: float | None
) -> None:
    found = errors.of(error, "target east")
    assert (found.condition, found.reason, found.lasting, found.delay) == (condition, reason, lasting, delay)
    assert str(found) == found.message


def test_a_conflict_names_managers_and_fields() -> None:
    assert errors.managers(CONFLICT) == {"kubectl", "hpa"}
    assert errors.conflict(CONFLICT) == (
        "deployments web: hpa, kubectl owns .spec.b, .spec.replicas; conflictPolicy TakeOver would take it over"
    )
    assert errors.conflict(ApiError(409, "Conflict", "stale", {"causes": "nonsense"})) == "stale"


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (Unreachable("x"), True),
        (ApiError(500), True),
        (ApiError(429), False),
        (ApiError(404), False),
        (ConfigError("x"), False),
    ],
)
def test_only_silence_and_outages_count_against_a_target(error: ApiError | Unreachable, counts: bool) -> None:
    assert errors.silent(error) is counts


def test_a_target_that_is_known_to_be_lost_is_left_alone_from_the_first_but_for_one_now_and_then() -> None:
    now = 0.0
    breakers = Breakers(lambda: now, threshold=2, first=2.0, most=5.0)
    assert breakers.wait("east", lost=True) == 5.0
    now = 5.0
    assert (breakers.wait("east", lost=True), breakers.wait("east", lost=True)) == (0.0, 2.0)
    breakers.failed("east")
    assert breakers.wait("east", lost=True) > 2.0
    breakers.succeeded("east")
    assert breakers.wait("east") == 0.0


def test_a_target_that_fails_again_and_again_is_left_alone_ever_longer() -> None:
    now = 0.0
    breakers = Breakers(lambda: now, threshold=2, first=2.0, most=5.0)
    breakers.failed("east")
    assert breakers.wait("east") == 0
    breakers.failed("east")
    assert (breakers.wait("east"), breakers.wait("west")) == (2.0, 0.0)
    now = 2.0
    assert breakers.wait("east") == 0  # one may try
    assert breakers.wait("east") == 2.0  # the others wait for it
    breakers.failed("east")
    assert breakers.wait("east") == 4.0
    now = 6.0
    assert breakers.wait("east") == 0
    breakers.failed("east")
    assert breakers.wait("east") == 5.0
    breakers.succeeded("east")
    assert breakers.wait("east") == 0
    breakers.failed("east")
    assert breakers.wait("east") == 0
