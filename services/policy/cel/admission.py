"""Admission of a policy's expressions: parsed, checked and linted."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.policy.cel.program import compile_rule
from services.policy.language.diagnostics import Diagnostic, InvalidExpression
from shared.api import PlacementPolicySpec, Rule
from shared.model.policy import PolicyFinding

LONGEST_TEXT = 512
"""Characters of a message or a suggestion that are recorded; either may quote names from the expression."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with one expression of a policy: `rules[eu].expression`, `variables[region].expression`."""

    where: str
    diagnostic: Diagnostic

    def __str__(self) -> str:
        return f"{self.where}: {self.diagnostic}"


def review(spec: PlacementPolicySpec) -> list[PolicyFinding]:
    """The findings of `check`, as they are recorded."""
    return [
        PolicyFinding(
            rule=each.where,
            line=each.diagnostic.line,
            column=each.diagnostic.column,
            message=each.diagnostic.message[:LONGEST_TEXT],
            suggestion=each.diagnostic.suggestion[:LONGEST_TEXT],
        )
        for each in check(spec)
    ]


def check(spec: PlacementPolicySpec) -> list[Finding]:
    """Everything that is wrong with a policy's expressions; an empty list when it may be admitted.

    A broken variable is reported once, and hides what depends on it.
    """
    return check_rules(spec.rules, tuple((each.name, each.expression) for each in spec.variables))


def check_rules(rules: Sequence[Rule], definitions: Sequence[tuple[str, str]] = ()) -> list[Finding]:
    """As `check`, for rules on their own (a Placement's)."""
    for number, (name, text) in enumerate(definitions):
        found = _findings(f"variables[{name}].expression", text, definitions[:number], "dyn")
        if found:
            return found
    found = []
    for rule in rules:
        found += _findings(f"rules[{rule.name}].expression", rule.expression, definitions, "bool")
        if rule.message_expression:
            found += _findings(f"rules[{rule.name}].messageExpression", rule.message_expression, definitions, "string")
    return found


def _findings(where: str, text: str, definitions: Sequence[tuple[str, str]], result: str) -> list[Finding]:
    try:
        compile_rule(text, definitions, result=result)
    except InvalidExpression as error:
        return [Finding(where, each) for each in error.diagnostics]
    return []
