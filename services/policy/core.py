"""Which rules hold for a request, and what their outcomes mean. Pure: values in, values out.

Order: the placement's own rules, then policies from the nearest workspace up, each workspace's by priority. The order
decides which rule is named where several exclude a target; whether it is excluded does not depend on it. Forbid beats
Require beats the rest: a target that is both forbidden and lacks what is required is reported as forbidden.

Policy score: 100 × earned / possible. Possible is the sum of the weights of all enforced Prefer and Avoid rules that
judge the target; earned is the sum of the weights of the Prefer rules that are true and of the Avoid rules that are
false. A target that no such rule judges gets `NEUTRAL`; where no such rule holds at all there are no scores.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from services.policy.evaluation.outcomes import ERROR, FALSE, NONE, TRUE, Mask, Outcomes
from services.policy.language.parameters import EMPTY
from services.policy.language.variables import PARAMS
from shared.api import LabelSelector, PlacementPolicySpec, Rule, Variable, matches
from shared.hub.holding import exempted, holds
from shared.hub.parameters import named
from shared.model.decision import Rejection
from shared.model.policy import Parameters, PolicyEntry, RuleResult
from shared.model.reasons import RejectionCode, Stage
from shared.model.refs import PolicyRef
from shared.model.request import Request
from shared.model.target import Target

INLINE = "placement"
"""The name under which the placement's own rules appear."""

NEUTRAL = 50.0
MAX_MESSAGES = 16
"""Different messages that one rule's `messageExpression` may give in one evaluation; the rest share one."""


@dataclass(frozen=True, slots=True)
class InForce:
    """A set of rules that holds for a request: a PlacementPolicy's, or the placement's own.

    `exemption` names the PolicyException by which these rules of a policy do not count for the request. `params` are
    its parameters as JSON, empty where it takes none; `hindered` says in a few words why it cannot be evaluated.
    """

    id: str
    workspace: str
    rules: tuple[Rule, ...]
    variables: tuple[Variable, ...] = ()
    target_selector: LabelSelector | None = None
    enforced: bool = True
    fail: bool = True
    warns: bool = False
    exemption: str = ""
    params: str = ""
    hindered: str = ""

    @property
    def definitions(self) -> tuple[tuple[str, str], ...]:
        """The policy's parameters, and its own variables: names and expressions, in order."""
        params = ((PARAMS, self.params),) if self.params else ()
        return (*params, *((variable.name, variable.expression) for variable in self.variables))

    def covers(self, target: Target) -> bool:
        """True if these rules judge the target."""
        return matches(self.target_selector, target.labels)


@dataclass(frozen=True, slots=True)
class Judged:
    """One rule with its outcome per target, in the request's order."""

    policy: InForce
    rule: Rule
    outcomes: Outcomes
    error: str = ""  # what went wrong on one of the targets, or with the rule itself
    messages: tuple[str, ...] = ()  # per target, from the rule's messageExpression; empty: the rule's message holds


@dataclass(frozen=True, slots=True)
class Judgement:
    """All rules on the targets: the surviving ones by index, their scores, all rules, and who fell out.

    `warnings` are of policies that warn, and of rules from which there is an exemption: who of the surviving would have
    fallen out.
    """

    kept: npt.NDArray[np.intp]
    scores: tuple[float, ...]
    rules: tuple[RuleResult, ...]
    rejections: tuple[Rejection, ...]
    warnings: tuple[Rejection, ...] = ()


def in_force(request: Request, entries: Iterable[PolicyEntry], now: float) -> tuple[InForce, ...]:
    """The rules that hold for the request at a time (seconds since the epoch), in order of precedence."""
    workspace = request.placement.workspace
    holding = [entry for entry in entries if holds(entry, request)]
    holding.sort(key=lambda entry: (-len(entry.workspace), -entry.spec.priority, entry.name))
    inline = (InForce(INLINE, workspace, request.spec.policies),) if request.spec.policies else ()
    return (*inline, *(part for entry in holding for part in _parts(entry, request, now)))


def _parts(entry: PolicyEntry, request: Request, now: float) -> Iterator[InForce]:
    """The rules of a policy that count, and apart from them those from which there are exemptions, by exemption.

    These are evaluated too, so that what would have been is known. Of a policy on trial, nothing is to be exempt from.
    """
    whole = _with_params(from_spec(PolicyRef.of(entry).id, entry.workspace, entry.spec), entry)
    if whole is None:
        return
    exempt = exempted(entry, request, now) if entry.exemptions and entry.spec.enforcement != "DryRun" else {}
    if not exempt:
        yield whole
        return
    yield _only(whole, exempt, "")
    for name in sorted(set(exempt.values())):
        part = _only(whole, exempt, name)
        if part.rules:
            yield replace(part, enforced=False, warns=whole.enforced, exemption=name)


def _with_params(whole: InForce, entry: PolicyEntry) -> InForce | None:
    """The policy with the parameters that it takes; None where it does not count without them, and they are absent."""
    ref = entry.spec.param_ref
    if ref is None:
        return whole
    params = entry.params or Parameters(unusable="what its parameters are is not known")
    if params.content:
        return replace(whole, params=params.content)
    if not params.unusable and ref.parameter_not_found_action == "Allow":
        return None
    return replace(whole, hindered=params.unusable or f"{named(ref)}, its parameters, is not there")


def _only(whole: InForce, exempt: Mapping[str, str], name: str) -> InForce:
    """The rules of a policy from which an exemption of that name is granted; without a name, those that count."""
    return replace(whole, rules=tuple(rule for rule in whole.rules if exempt.get(rule.name, "") == name))


def from_spec(id: str, workspace: str, spec: PlacementPolicySpec) -> InForce:
    """A PlacementPolicy's rules."""
    return InForce(
        id=id,
        workspace=workspace,
        rules=spec.rules,
        variables=spec.variables,
        params=EMPTY if spec.param_ref is not None else "",
        target_selector=spec.target_selector,
        enforced=spec.enforcement == "Enforced",
        fail=spec.failure_policy == "Fail",
        warns=spec.enforcement == "Warn",
    )


def judge(targets: Sequence[str], judged: Sequence[Judged]) -> Judgement:
    """Decide and score, from the outcome of every rule on every target."""
    alive: Mask = np.ones(len(targets), dtype=bool)
    rejections: list[Rejection] = []
    decisive = [each for effect in ("Forbid", "Require") for each in judged if each.rule.effect == effect]
    for each in decisive:
        if each.policy.enforced:
            excluded = _excluded(each) & alive
            rejections += _rejections(targets, each, excluded)
            alive &= ~excluded
    warning = [each for each in decisive if each.policy.warns]
    kept = np.flatnonzero(alive)
    return Judgement(
        kept=kept,
        scores=_scores(judged, kept),
        rules=tuple(_result(each, kept) for each in judged),
        rejections=tuple(rejections),
        warnings=tuple(told for each in warning for told in _rejections(targets, each, _excluded(each) & alive)),
    )


def _excluded(each: Judged) -> Mask:
    decisive = TRUE if each.rule.effect == "Forbid" else FALSE
    excluded: Mask = each.outcomes == decisive
    return excluded | (each.outcomes == ERROR) if each.policy.fail else excluded


def _rejections(targets: Sequence[str], each: Judged, excluded: Mask) -> Iterable[Rejection]:
    """One per distinct message; errors apart from judgements."""
    failed = excluded & (each.outcomes == ERROR)
    name = f"{each.policy.id}/{each.rule.name}".removeprefix("/")  # on a hub without workspaces
    exempt = f"exempt from {name} by {each.policy.exemption}: " if each.policy.exemption else ""
    if failed.any():
        message = f"{exempt}rule {name} could not be evaluated: {each.error}"
        yield _rejection(RejectionCode.POLICY_ERROR, message, _ids(targets, np.flatnonzero(failed)))
    decided = np.flatnonzero(excluded & ~failed)
    reason = RejectionCode.POLICY_FORBIDS if each.rule.effect == "Forbid" else RejectionCode.POLICY_REQUIRES
    default = each.rule.message or (
        f"forbidden by rule {name}" if each.rule.effect == "Forbid" else f"does not meet rule {name}"
    )
    groups: dict[str, list[int]] = {}
    if not each.messages and len(decided):
        groups[default], decided = decided.tolist(), decided[:0]
    for index in decided:
        message = (each.messages[index] if each.messages else "") or default
        if message not in groups and len(groups) >= MAX_MESSAGES:
            message = default
        groups.setdefault(message, []).append(int(index))
    for message, members in groups.items():
        yield _rejection(reason, exempt + message, _ids(targets, members))


def _rejection(reason: RejectionCode, message: str, targets: tuple[str, ...]) -> Rejection:
    return Rejection(stage=Stage.POLICY, reason=reason, message=message, targets=targets)


def _ids(targets: Sequence[str], indices: Iterable[int]) -> tuple[str, ...]:
    return tuple(targets[index] for index in indices)


def _scores(judged: Sequence[Judged], kept: npt.NDArray[np.intp]) -> tuple[float, ...]:
    """An error earns nothing under failurePolicy Fail; under Ignore the rule does not count for that target."""
    preferences = [
        each for each in judged if each.policy.enforced and each.rule.effect in ("Prefer", "Avoid") and each.rule.weight
    ]
    if not preferences:
        return ()
    possible = np.zeros(len(kept))
    earned = np.zeros(len(kept))
    for each in preferences:
        outcomes = each.outcomes[kept]
        counts = (outcomes != NONE) if each.policy.fail else (outcomes == TRUE) | (outcomes == FALSE)
        possible += each.rule.weight * counts
        earned += each.rule.weight * (outcomes == (TRUE if each.rule.effect == "Prefer" else FALSE))
    scores = np.full(len(kept), NEUTRAL)
    np.divide(100.0 * earned, possible, out=scores, where=possible > 0)
    return tuple(scores.tolist())


def _result(each: Judged, kept: npt.NDArray[np.intp]) -> RuleResult:
    errors = int(np.count_nonzero(each.outcomes == ERROR))
    return RuleResult(
        policy=each.policy.id,
        rule=each.rule.name,
        effect=each.rule.effect,
        weight=float(each.rule.weight),
        outcomes=each.outcomes[kept].tobytes().decode("ascii"),
        enforced=each.policy.enforced,
        evaluated=int(np.count_nonzero(each.outcomes != NONE)),
        matched=int(np.count_nonzero(each.outcomes == TRUE)),
        errors=errors,
        message=each.error if errors else each.rule.message or "",
        exemption=each.policy.exemption,
    )
