"""Judgement over outcomes: precedence, scores, messages. Pure, so without CEL."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.policy.core import MAX_MESSAGES, NEUTRAL, InForce, Judged, judge
from services.policy.evaluation.outcomes import ERROR, FALSE, TRUE
from shared.api import Rule
from shared.hub.holding import reaches

EFFECTS = ("Require", "Forbid", "Prefer", "Avoid")


def judged(outcomes: str, effect: str = "Require", name: str = "r", **more: object) -> Judged:
    settings = {key: more.pop(key) for key in ("enforced", "fail", "warns") if key in more}
    rule = Rule(name=name, expression="true", effect=effect, weight=more.pop("weight", 50))  # type: ignore[arg-type]
    codes = np.frombuffer(outcomes.encode(), dtype=np.uint8)
    return Judged(InForce("w/p", "w", (rule,), **settings), rule, codes, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("policy", "workspace", "holds"),
    [
        ("root", "root", True),
        ("root", "root:a:b", True),
        ("root:a", "root:ab", False),
        ("root:a:b", "root:a", False),
        ("", "root:a", True),
        ("", "", True),
        ("root", "", False),
    ],
)
def test_a_policy_reaches_its_workspace_and_those_below(policy: str, workspace: str, holds: bool) -> None:
    assert reaches(policy, workspace) is holds


@pytest.mark.parametrize(
    ("effect", "fail", "survivors"),
    [("Require", True, "a"), ("Require", False, "acd"), ("Forbid", True, "b"), ("Forbid", False, "bcd")],
)
def test_which_outcomes_exclude(effect: str, fail: bool, survivors: str) -> None:
    judgement = judge("abcd", [judged("tfee", effect, fail=fail)])
    assert "".join("abcd"[each] for each in judgement.kept) == survivors


@pytest.mark.parametrize(("effect", "warned"), [("Require", "b"), ("Forbid", "a")])
def test_a_policy_that_warns_says_of_whom_it_would_reject_and_rejects_nobody(effect: str, warned: str) -> None:
    judgement = judge("abx", [judged("tff", effect, enforced=False, warns=True), judged("ttf")])
    assert "".join("abx"[each] for each in judgement.kept) == "ab"
    assert [each.targets for each in judgement.warnings] == [(warned,)]
    assert judge("ab", [judged("tf", effect, enforced=False)]).warnings == ()


def test_uncovered_targets_pass_and_score_neutral() -> None:
    judgement = judge("abc", [judged("t-f", "Prefer")])
    assert judgement.scores == (100.0, NEUTRAL, 0.0)
    assert len(judge("ab", [judged("--"), judged("--", "Forbid")]).kept) == 2


def test_the_score_is_the_weighted_share_of_what_could_be_earned() -> None:
    rules = [judged("tf", "Prefer", weight=60), judged("ft", "Avoid", weight=30), judged("ff", "Prefer", weight=10)]
    assert judge("ab", rules).scores == (90.0, 0.0)


def test_an_error_earns_nothing_or_does_not_count() -> None:
    assert judge("a", [judged("e", "Avoid"), judged("t", "Prefer")]).scores == (50.0,)
    assert judge("a", [judged("e", "Avoid", fail=False), judged("t", "Prefer")]).scores == (100.0,)


@pytest.mark.parametrize("rules", [[], [judged("t", "Prefer", weight=0)], [judged("t", "Prefer", enforced=False)]])
def test_without_preferences_there_are_no_scores(rules: list[Judged]) -> None:
    assert judge("a", rules).scores == ()


def test_targets_are_rejected_by_their_own_message_and_messages_are_bounded() -> None:
    ids = [str(number) for number in range(MAX_MESSAGES + 5)]
    judgement = judge(ids, [judged("f" * len(ids), messages=tuple(f"no {each}" for each in ids))])
    assert len(judgement.rejections) == MAX_MESSAGES + 1
    assert judgement.rejections[0].message == "no 0"
    assert judgement.rejections[-1].message == "does not meet rule w/p/r"
    assert sorted(target for each in judgement.rejections for target in each.targets) == sorted(ids)


def test_an_error_is_reported_apart_from_a_verdict() -> None:
    judgement = judge("abc", [judged("tfe", error="no such key: 'x'")])
    assert [(each.reason, each.message, each.targets) for each in judgement.rejections] == [
        ("PolicyError", "rule w/p/r could not be evaluated: no such key: 'x'", ("c",)),
        ("PolicyRequires", "does not meet rule w/p/r", ("b",)),
    ]


rule_sets = st.lists(
    st.tuples(st.text("tfe-", min_size=6, max_size=6), st.sampled_from(EFFECTS), st.booleans()), max_size=6
)


@given(rule_sets)
def test_every_target_survives_or_is_rejected_once_and_order_does_not_decide(
    drawn: list[tuple[str, str, bool]],
) -> None:
    rules = [judged(outcomes, effect, fail=fail) for outcomes, effect, fail in drawn]
    judgement = judge("abcdef", rules)
    kept = ["abcdef"[each] for each in judgement.kept]
    rejected = [target for each in judgement.rejections for target in each.targets]
    assert sorted(kept + rejected) == list("abcdef")
    assert judge("abcdef", rules[::-1]).kept.tolist() == judgement.kept.tolist()
    assert all(0.0 <= score <= 100.0 for score in judgement.scores)
    assert all(len(each.outcomes) == len(kept) for each in judgement.rules)
    for each in rules:
        fatal = {"Require": FALSE, "Forbid": TRUE}.get(each.rule.effect)
        assert all(
            each.outcomes[index] not in (fatal, ERROR if fatal and each.policy.fail else -1) for index in judgement.kept
        )
