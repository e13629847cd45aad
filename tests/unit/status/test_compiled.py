"""The status of a policy, from what was found out about it."""

import msgspec
import pytest

from services.status.compiled import counts_alone, is_news, policy_status, sentence
from shared.api import PlacementPolicyStatus, RuleCount
from shared.model.policy import PolicyCheck, PolicyFinding, RuleTally

NOW, LATER = "2027-01-15T08:00:00Z", "2027-01-15T09:00:00Z"
TYPO = PolicyFinding(
    rule="rules[eu].expression",
    line=2,
    column=11,
    message="undeclared variable `variables.reigon`",
    suggestion="did you mean `region`?",
)
PLACE = "rules[eu].expression, line 2, column 11: undeclared variable `variables.reigon`"
GOOD = PolicyCheck(workspace="root", name="p", uid="u", generation=3, counts=(RuleTally(rule="eu"),))


def bad(*findings: PolicyFinding, more: int = 0) -> PolicyCheck:
    return msgspec.structs.replace(GOOD, findings=findings, more=more)


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (GOOD, "The rule compiles."),
        (msgspec.structs.replace(GOOD, counts=GOOD.counts * 3), "All 3 rules compile."),
        (
            msgspec.structs.replace(GOOD, warnings=(TYPO, TYPO)),
            f"The rule compiles. Warning: {PLACE} (did you mean `region`?).",
        ),
        (bad(TYPO), f"{PLACE} (did you mean `region`?)."),
        (bad(msgspec.structs.replace(TYPO, suggestion="")), f"{PLACE}."),
        (bad(TYPO, TYPO, more=4), f"{PLACE} (did you mean `region`?); and 5 more."),
        (bad(PolicyFinding(rule="", message="it took too long")), "It took too long."),
    ],
)
def test_it_is_one_sentence(check: PolicyCheck, said: str) -> None:
    assert sentence(check) == said


@pytest.mark.parametrize(
    ("check", "truth", "why"),
    [
        (GOOD, "True", "Compiled"),
        (bad(TYPO), "False", "InvalidExpression"),
        (bad(PolicyFinding(rule="", message="it took too long")), "False", "NotChecked"),
    ],
)
def test_the_condition_says_whether_it_compiles(check: PolicyCheck, truth: str, why: str) -> None:
    status = policy_status(PlacementPolicyStatus(), check, NOW)
    (condition,) = status.conditions
    assert (condition.type, condition.status, condition.reason) == ("Compiled", truth, why)
    assert (status.observed_generation, condition.observed_generation) == (3, 3)


def test_counts_are_shown_per_rule() -> None:
    check = msgspec.structs.replace(GOOD, counts=(RuleTally(rule="eu", evaluated=5, matched=3, errors=1),))
    assert policy_status(PlacementPolicyStatus(), check, NOW).rules == (
        RuleCount(name="eu", evaluated=5, matched=3, errors=1),
    )


def test_the_same_said_again_is_the_same_status() -> None:
    first = policy_status(PlacementPolicyStatus(), bad(TYPO), NOW)
    assert policy_status(first, bad(TYPO), LATER) == first


def test_only_what_is_newly_wrong_is_news() -> None:
    nothing = PlacementPolicyStatus()
    wrong = policy_status(nothing, bad(TYPO), NOW)
    assert is_news(nothing, bad(TYPO))
    assert is_news(policy_status(nothing, GOOD, NOW), bad(TYPO))
    assert is_news(wrong, bad(msgspec.structs.replace(TYPO, line=3)))
    assert not is_news(wrong, bad(TYPO))
    assert not is_news(wrong, GOOD)


def test_counts_are_told_from_everything_else() -> None:
    counted = msgspec.structs.replace(GOOD, counts=(RuleTally(rule="eu", evaluated=5),))
    assert counts_alone(GOOD, counted)
    assert not counts_alone(GOOD, msgspec.structs.replace(counted, generation=4))
    assert not counts_alone(GOOD, bad(TYPO))
