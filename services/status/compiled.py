"""The status of a PlacementPolicy, from what the policy worker found out. Pure."""

from typing import Literal

from shared.api import PlacementPolicyStatus, RuleCount, get_condition, set_condition
from shared.model.policy import PolicyCheck, PolicyFinding

COMPILED = "Compiled"
INVALID = "InvalidExpression"
UNCHECKED = "NotChecked"


def policy_status(before: PlacementPolicyStatus, check: PolicyCheck, now: str) -> PlacementPolicyStatus:
    """The status that says what the check says; equal to the one before where that said the same. `now`: RFC 3339."""
    truth: Literal["True", "False"] = "False" if check.findings else "True"
    conditions = set_condition(
        before.conditions, COMPILED, truth, reason(check), sentence(check), now, check.generation
    )
    return PlacementPolicyStatus(
        observed_generation=check.generation,
        conditions=conditions,
        rules=tuple(
            RuleCount(name=each.rule, evaluated=each.evaluated, matched=each.matched, errors=each.errors)
            for each in check.counts
        ),
    )


def is_news(before: PlacementPolicyStatus, check: PolicyCheck) -> bool:
    """True if the check finds something wrong that the status does not say yet."""
    known = get_condition(before.conditions, COMPILED)
    return bool(check.findings) and (known is None or known.status != "False" or known.message != sentence(check))


def reason(check: PolicyCheck) -> str:
    """Why the condition is as it is, in one word."""
    if not check.findings:
        return COMPILED
    return INVALID if check.findings[0].rule else UNCHECKED


def sentence(check: PolicyCheck) -> str:
    """Why, for people: the first finding with its place, and how many more there are."""
    if not check.findings:
        count = len(check.counts)
        compiles = "The rule compiles." if count == 1 else f"All {count} rules compile."
        return f"{compiles} Warning: {_said(check.warnings[0])}." if check.warnings else compiles
    more = len(check.findings) - 1 + check.more
    said = _said(check.findings[0]) + (f"; and {more} more." if more else ".")
    held = f" Until that is mended, generation {check.valid_generation} holds."
    return said if check.valid is None else said + held


def _said(finding: PolicyFinding) -> str:
    if not finding.rule:
        return finding.message[:1].upper() + finding.message[1:]
    hint = f" ({finding.suggestion})" if finding.suggestion else ""
    return f"{finding.rule}, line {finding.line}, column {finding.column}: {finding.message}{hint}"


def counts_alone(before: PolicyCheck, check: PolicyCheck) -> bool:
    """True if two records of a policy differ in their counts at most."""
    return _but_counts(before) == _but_counts(check)


def _but_counts(check: PolicyCheck) -> tuple[object, ...]:
    return check.uid, check.generation, check.findings, check.more, check.warnings, check.valid_generation
