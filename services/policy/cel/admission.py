"""Admission of a policy's expressions: parsed, checked and linted."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.policy.cel.program import Definitions, compile_rule
from services.policy.language.advice import advice, misordered
from services.policy.language.diagnostics import Diagnostic, InvalidExpression
from services.policy.language.parameters import EMPTY
from services.policy.language.syntax import SyntaxNode
from services.policy.language.variables import PARAMS
from shared.api import PlacementPolicySpec, Rule
from shared.model.policy import PolicyFinding

LONGEST_TEXT = 512
"""Characters of a message or a suggestion that are recorded; either may quote names from the expression."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with one expression of a policy: `rules[eu].expression`, `variables[region].expression`."""

    where: str
    diagnostic: Diagnostic
    warning: bool = False  # the expression may be evaluated all the same

    def __str__(self) -> str:
        return f"{self.where}: {self.diagnostic}"


def review(spec: PlacementPolicySpec) -> list[PolicyFinding]:
    """What is wrong with a policy's expressions and what is doubtful, as it is recorded."""
    return [
        PolicyFinding(
            rule=each.where,
            line=each.diagnostic.line,
            column=each.diagnostic.column,
            message=each.diagnostic.message[:LONGEST_TEXT],
            suggestion=each.diagnostic.suggestion[:LONGEST_TEXT],
            warning=each.warning,
        )
        for each in examine(spec.rules, definitions_of(spec))
    ]


def check(spec: PlacementPolicySpec) -> list[Finding]:
    """Everything that is wrong with a policy's expressions; an empty list when it may be admitted.

    A broken variable is reported once, and hides what depends on it.
    """
    return check_rules(spec.rules, definitions_of(spec))


def check_rules(rules: Sequence[Rule], definitions: Definitions = ()) -> list[Finding]:
    """As `check`, for rules on their own (a Placement's)."""
    return [each for each in examine(rules, definitions) if not each.warning]


def definitions_of(spec: PlacementPolicySpec) -> Definitions:
    """A policy's own variables, whatever its parameters are."""
    params = ((PARAMS, EMPTY),) if spec.param_ref is not None else ()
    return (*params, *((each.name, each.expression) for each in spec.variables))


def examine(rules: Sequence[Rule], definitions: Definitions = ()) -> list[Finding]:
    """As `check_rules`, with warnings of what is valid and hardly meant."""
    told: list[SyntaxNode] = []
    warnings: list[Finding] = []
    for number, (name, text) in enumerate(definitions):
        if name == PARAMS:
            continue
        found = _findings(f"variables[{name}].expression", text, definitions[:number], "dyn", told)
        if not all(each.warning for each in found):
            return found
        warnings += found
    found = warnings
    for rule in rules:
        found += _findings(f"rules[{rule.name}].expression", rule.expression, definitions, "bool", told)
        if rule.message_expression:
            words = rule.message_expression
            found += _findings(f"rules[{rule.name}].messageExpression", words, definitions, "string", told)
    return found


def _findings(where: str, text: str, definitions: Definitions, result: str, told: list[SyntaxNode]) -> list[Finding]:
    """What is wrong; of what compiles, warnings beside those that were `told` of a variable that it uses."""
    try:
        program = compile_rule(text, definitions, result=result)
    except InvalidExpression as error:
        return [Finding(where, each) for each in error.diagnostics]
    new = [each for each in misordered(program.node) if each not in told]
    if where.startswith("variables"):
        told += new
    return [Finding(where, advice(each), warning=True) for each in new]
