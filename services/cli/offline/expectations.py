"""What a case expects of rules, compared with what they say; and which outcomes rules never had."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from services.cli.offline.planner import OUTCOMES
from services.policy.preview import Assessment, Tested
from shared.api.policytest import ExpectedResult

WORDS: dict[bool | str, str] = {True: "t", False: "f", "Error": "e", "NotCovered": "-"}
"""Outcomes as tests write them."""


def shown(id: str) -> str:
    """An id for people: without workspaces, the bare name."""
    return id.removeprefix("/")


def is_rule(tested: Tested, name: str) -> bool:
    """True if a rule is meant by `rule`, or by `policy/rule`, with the workspace of the policy or without."""
    policy, _, rule = name.rpartition("/")
    return tested.rule == rule and (not policy or policy in (shown(tested.policy), tested.policy.rpartition("/")[2]))


def failures(expected: ExpectedResult, assessed: Assessment) -> Iterator[str]:
    """What is otherwise than expected on a target, in a few words each."""
    rejecting = [each for each in assessed.rules if each.message]
    meant = [each for each in rejecting if is_rule(each, expected.rule)] if expected.rule else rejecting
    is_now = "Kept" if assessed.kept else "Rejected by " + ", ".join(_named(each) for each in rejecting)
    if (expected.result == "Kept") != assessed.kept and expected.result:
        yield f"expected {expected.result}, is {is_now}"
    elif expected.rule and not meant:
        yield f"expected to be rejected by {expected.rule}, is {is_now}"
    if expected.message and not any(expected.message in each.message for each in meant):
        said = "; ".join(each.message for each in meant) or "nothing"
        yield f"expected the message {expected.message!r}, is told {said}"
    if expected.score is not None and (assessed.score is None or abs(expected.score - assessed.score) >= 0.005):
        yield f"expected the score {expected.score:g}, has " + (
            "none" if assessed.score is None else f"{assessed.score:.2f}"
        )
    if expected.exemption and not any(_spared(each, expected.exemption) for each in assessed.rules):
        yield f"expected to be kept by {expected.exemption}, which exempts it from no rule that would reject it"
    for name, word in expected.outcomes.items():
        outcome = next((each.outcome for each in assessed.rules if is_rule(each, name)), "-")
        if outcome != WORDS[word]:
            yield f"expected {name} to be {OUTCOMES[WORDS[word]]}, is {OUTCOMES[outcome]}"
    yield from _errors(expected, assessed)


def _errors(expected: ExpectedResult, assessed: Assessment) -> Iterator[str]:
    """An error that nobody expects is told: it rejects a target under failurePolicy Fail, as if by the rule."""
    failed = [each for each in assessed.rules if each.outcome == "e"]
    if expected.error and not any(expected.error in each.error for each in failed):
        said = "; ".join(each.error for each in failed) or "nothing"
        yield f"expected the error {expected.error!r}, and {said} went wrong"
    told = {name for name, word in expected.outcomes.items() if word == "Error"}
    for each in failed:
        if not expected.error and not any(is_rule(each, name) for name in told):
            yield f"{_named(each)} failed: {each.error}"


def _spared(tested: Tested, exemption: str) -> bool:
    """True if a rule would reject the target, and does not count by that exemption."""
    would_reject = tested.outcome in ("e", {"Require": "f", "Forbid": "t"}.get(tested.effect))
    return tested.exemption == exemption and would_reject


def _named(tested: Tested) -> str:
    return f"{shown(tested.policy)}/{tested.rule}"


@dataclass(frozen=True)
class RuleCoverage:
    """How often a rule had each outcome, over all targets of all cases."""

    policy: str
    rule: str
    true: int
    false: int
    error: int

    @property
    def lacking(self) -> str:
        """What no case showed of it, in words; empty where it was both true and false."""
        if not self.true + self.false + self.error:
            return "never evaluated"
        if not self.true + self.false:
            return "always an error"
        return "never true" if not self.true else "never false" if not self.false else ""


@dataclass
class Coverage:
    """Counts the outcomes of rules, those that no Placement was selected for among them."""

    _counts: defaultdict[tuple[str, str], dict[str, int]] = field(
        default_factory=lambda: defaultdict(lambda: dict.fromkeys(OUTCOMES, 0))
    )

    def know(self, policy: str, rule: str) -> None:
        """Count a rule, though nothing is known of it yet."""
        self._counts[policy, rule]

    def add(self, assessments: Iterable[Assessment]) -> None:
        """Count what rules said."""
        for assessed in assessments:
            for each in assessed.rules:
                self._counts[each.policy, each.rule][each.outcome] += 1

    def rules(self) -> list[RuleCoverage]:
        """Each rule, in the order in which it was met."""
        return [
            RuleCoverage(shown(policy), rule, counts["t"], counts["f"], counts["e"])
            for (policy, rule), counts in self._counts.items()
        ]
