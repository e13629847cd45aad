"""Policies in force, what their rules said of targets, and what is wrong with them."""

from typing import Annotated, get_args

from msgspec import Meta

from shared.api import PlacementPolicySpec, PolicyExceptionSpec, RuleEffect
from shared.model.value import Value

EXEMPT = ", exempt by "
"""What follows the outcome of a rule that does not count, before the name of the PolicyException."""


class Exemption(Value, frozen=True, kw_only=True):
    """A PolicyException that is granted, until `expires` (seconds since the epoch)."""

    name: str
    expires: float
    spec: PolicyExceptionSpec


class Parameters(Value, frozen=True, kw_only=True):
    """What the object says that a policy's `paramRef` names, as JSON (shared/hub/parameters.py says what of it).

    Without content it is absent, or `unusable` says in a few words why what is there cannot be used.
    """

    content: str = ""
    unusable: str = ""


class PolicyEntry(Value, frozen=True, kw_only=True):
    """A PlacementPolicy in force: it holds in `workspace` and in every workspace below.

    `exemptions` are what was granted of it in that workspace, by name; one that has expired counts no more, whether it
    is still among them or not. `params` are there where it has a `paramRef`.
    """

    workspace: str
    name: str
    uid: str = ""
    generation: int = 0
    spec: PlacementPolicySpec
    exemptions: tuple[Exemption, ...] = ()
    params: Parameters | None = None


class RuleResult(Value, frozen=True, kw_only=True):
    """One policy rule over the targets of the message that carries it.

    `outcomes` holds one character per target, in their order: `t` true, `f` false, `e` error, `-` where the policy's
    targetSelector leaves the target out. `evaluated`, `matched` (true) and `errors` count over all targets that were
    judged, those that the rules excluded among them. `exemption` names the PolicyException by which the rule does not
    count for the placement.

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
    exemption: str = ""


class PolicyFinding(Value, frozen=True, kw_only=True):
    """A mistake in one expression of a policy.

    `rule` names the expression as `rules[eu].expression` or `variables[region].expression`; it is empty where the
    policy as a whole is meant. Line and column count from 1, 0 where there is no place to point at. With `warning` it
    is no mistake, but hardly what its author means.
    """

    rule: str
    message: str
    line: int = 0
    column: int = 0
    suggestion: str = ""
    warning: bool = False


class RuleTally(Value, frozen=True, kw_only=True):
    """On how many targets a rule was evaluated, was true, failed."""

    rule: str
    evaluated: int = 0
    matched: int = 0
    errors: int = 0


class PolicyCheck(Value, frozen=True, kw_only=True):
    """The check of one generation of a PlacementPolicy: its first findings and how many more there are, its first
    warnings, and what its rules did since, in their order.

    `valid` is the newest spec that compiled, of `valid_generation`: with findings it holds in place of the policy's
    own. None where none did, it was too large to be kept, or 0.1 wrote this.
    """

    workspace: str
    name: str
    uid: str = ""
    generation: int = 0
    findings: tuple[PolicyFinding, ...] = ()
    more: int = 0
    warnings: tuple[PolicyFinding, ...] = ()
    counts: tuple[RuleTally, ...] = ()
    valid: PlacementPolicySpec | None = None
    valid_generation: int = 0
