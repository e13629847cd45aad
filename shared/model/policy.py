"""Policies in force, what their rules said of targets, and what is wrong with them."""

from typing import Annotated, get_args

from msgspec import Meta

from shared.api import PlacementPolicySpec, RuleEffect
from shared.model.value import Value


class PolicyEntry(Value, frozen=True, kw_only=True):
    """A PlacementPolicy in force: it holds in `workspace` and in every workspace below."""

    workspace: str
    name: str
    uid: str = ""
    generation: int = 0
    spec: PlacementPolicySpec


class RuleResult(Value, frozen=True, kw_only=True):
    """One policy rule over the targets of the message that carries it.

    `outcomes` holds one character per target, in their order: `t` true, `f` false, `e` error, `-` where the policy's
    targetSelector leaves the target out. `evaluated`, `matched` (true) and `errors` count over all targets that were
    judged, those that the rules excluded among them.

    On the wire `effect` is open: what a rule did is in the targets and scores of the message already, so a stage that
    does not know the word has nothing to do for it.
    """

    policy: str
    rule: str
    effect: Annotated[str, Meta(examples=[*get_args(RuleEffect)])]
    weight: float = 0.0
    outcomes: str = ""
    enforced: bool = True
    evaluated: int = 0
    matched: int = 0
    errors: int = 0
    message: str = ""


class PolicyFinding(Value, frozen=True, kw_only=True):
    """A mistake in one expression of a policy.

    `rule` names the expression as `rules[eu].expression` or `variables[region].expression`; it is empty where the
    policy as a whole is meant. Line and column count from 1, 0 where there is no place to point at.
    """

    rule: str
    message: str
    line: int = 0
    column: int = 0
    suggestion: str = ""


class RuleTally(Value, frozen=True, kw_only=True):
    """On how many targets a rule was evaluated, was true, failed."""

    rule: str
    evaluated: int = 0
    matched: int = 0
    errors: int = 0


class PolicyCheck(Value, frozen=True, kw_only=True):
    """The check of one generation of a PlacementPolicy: its first findings of its check, how many more there are, and
    what its rules did since, in their order."""

    workspace: str
    name: str
    uid: str = ""
    generation: int = 0
    findings: tuple[PolicyFinding, ...] = ()
    more: int = 0
    counts: tuple[RuleTally, ...] = ()
