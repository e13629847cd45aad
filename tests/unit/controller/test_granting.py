"""What PolicyExceptions say of themselves, and which of them count."""

from typing import Any

import pytest

from services.controller.core.granting import MOST_EXEMPTIONS, in_force, status_of
from shared.api import (
    LabelSelector,
    ObjectMeta,
    PlacementPolicySpec,
    PolicyException,
    PolicyExceptionSpec,
    PolicyMatch,
    Rule,
    get_condition,
)

NOW, WRITTEN = 1000.0, "1970-01-01T00:16:40Z"
LATER, BEFORE = "1970-01-02T00:00:00Z", "1970-01-01T00:16:40Z"
POLICY = PlacementPolicySpec(rules=(Rule(name="a", expression="true"), Rule(name="b", expression="true")))
ON_TRIAL = PlacementPolicySpec(rules=POLICY.rules, enforcement="DryRun")
BY_LABELS = PolicyMatch(workspaces=("root",), workspace_selector=LabelSelector())


def exception(name: str = "e", expires_at: str = LATER, **fields: Any) -> PolicyException:
    match = fields.pop("match", PolicyMatch(workspaces=("root:shop",)))
    spec = PolicyExceptionSpec(policy="p", match=match, reason="because", expires_at=expires_at, **fields)
    return PolicyException(metadata=ObjectMeta(name=name, generation=3), spec=spec)


def said(
    of: PolicyException, policy: PlacementPolicySpec | None = POLICY, author: str = "alice"
) -> tuple[str, str, str]:
    status = status_of(of, policy, [of], author, NOW, WRITTEN)
    assert status.observed_generation == 3
    found = get_condition(status.conditions, "InForce")
    assert found is not None
    return found.status, found.reason, found.message


@pytest.mark.parametrize(
    ("of", "policy", "status", "reason", "words"),
    [
        (exception(), POLICY, "True", "InForce", f"until {LATER}"),
        (exception(rules=("a", "x")), POLICY, "True", "InForceInPart", "p has no rule x"),
        (exception(rules=("x", "y")), POLICY, "False", "NoSuchRule", "p has no rule x, y"),
        (exception(expires_at=BEFORE), POLICY, "False", "Expired", f"ended at {BEFORE}"),
        (exception(), None, "False", "NoPolicy", "no PlacementPolicy p in its workspace"),
        (exception(), ON_TRIAL, "False", "OnTrial", "p is DryRun"),
        (exception(match=BY_LABELS), POLICY, "False", "ByLabels", "make nobody exempt"),
    ],
)
def test_an_exception_says_whether_it_is_in_force_and_who_granted_it(
    of: PolicyException, policy: PlacementPolicySpec | None, status: str, reason: str, words: str
) -> None:
    found = said(of, policy)
    assert found[:2] == (status, reason)
    assert words in found[2]
    assert found[2].endswith("Granted by alice.")


def test_where_nobody_is_recorded_it_says_so() -> None:
    assert said(exception(), author="")[2].endswith("Nobody is recorded who granted it.")


def test_of_more_than_count_the_others_say_so_and_do_not_count() -> None:
    granted = [exception(f"e{number:03}") for number in range(MOST_EXEMPTIONS + 1)]
    counting = {each.name for each in in_force(granted, NOW)}
    assert len(counting) == MOST_EXEMPTIONS
    for each in granted:
        found = get_condition(status_of(each, POLICY, granted, "alice", NOW, WRITTEN).conditions, "InForce")
        assert found is not None
        assert (found.status == "True") is (each.metadata.name in counting)
        assert found.reason == ("InForce" if each.metadata.name in counting else "TooMany")


def test_what_is_over_or_by_labels_takes_nobodys_place() -> None:
    granted = [exception("a", BEFORE), exception("b", match=BY_LABELS), exception("c")]
    assert [each.name for each in in_force(granted, NOW)] == ["c"]


def test_a_status_stays_the_same_as_long_as_nothing_changes() -> None:
    first = status_of(exception(), POLICY, [exception()], "alice", NOW, WRITTEN)
    again = PolicyException(metadata=exception().metadata, spec=exception().spec, status=first)
    assert status_of(again, POLICY, [again], "alice", NOW + 60, "1970-01-01T00:17:40Z") == first
