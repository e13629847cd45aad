"""The stage at work: finds the rules and targets that a message is about, has the rules evaluated, and judges."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.policy.cel.engine import Engine, Evaluation, Exhausted, Pending, Scene, Wording
from services.policy.cel.program import Program
from services.policy.core import INLINE, InForce, Judged, in_force, judge
from services.policy.evaluation.columns import TargetColumns
from services.policy.evaluation.outcomes import ERROR, FALSE, NONE, TRUE, Mask, Outcomes
from services.policy.language.diagnostics import InvalidExpression
from services.policy.language.variables import read_request
from shared.api import Rule
from shared.model.decision import Rejection
from shared.model.policy import PolicyEntry
from shared.model.reasons import RejectionCode, Stage
from shared.pipeline.messages import Discovered, Evaluated

DECISIVE = {"Forbid": TRUE, "Require": FALSE}
"""The outcome with which a rule excludes a target."""


class InvalidInlineRule(Exception):
    """A rule of the placement itself that is invalid; the message is one sentence for its author."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A rule whose evaluation has begun, on the rows that its policy covers."""

    policy: InForce
    rule: Rule
    covered: Mask
    work: Evaluation | Pending | str  # a text: it cannot be evaluated, and why
    wording: Wording | None = None  # for the targets that it excludes


async def evaluate(
    message: Discovered, inventory: TargetColumns, policies: Sequence[PolicyEntry], engine: Engine, now: float
) -> Evaluated:
    """Judge the discovered targets by every rule in force; `now` in seconds since the epoch.

    All rules see the inventory as it is at the call, however long some of them take.
    """
    found = inventory.rows(message.targets)
    ids = [each for each, row in zip(message.targets, found, strict=True) if row is not None]
    rows = np.array([row for row in found if row is not None], dtype=np.intp)
    rejections = message.rejections
    if len(ids) < len(found):
        gone = tuple(each for each, row in zip(message.targets, found, strict=True) if row is None)
        code, words = RejectionCode.TARGET_GONE, "is no longer offered"
        rejections += (Rejection(stage=Stage.POLICY, reason=code, message=words, targets=gone),)
    scene = Scene(inventory, rows, read_request(message.request, now), now, message.request.placement.workspace)
    try:
        begun = [
            _begin(policy, rule, covered, engine, scene)
            for policy in in_force(message.request, policies)
            for covered in (_covered(policy, scene),)
            for rule in policy.rules
        ]
    except InvalidInlineRule as error:
        return Evaluated(
            request=message.request,
            targets=(),
            rejections=rejections,
            inventory_revision=message.inventory_revision,
            error=str(error),
        )
    judgement = judge(ids, [await _finish(each, engine) for each in begun])
    return Evaluated(
        request=message.request,
        targets=tuple(ids[index] for index in judgement.kept),
        scores=judgement.scores,
        rules=judgement.rules,
        rejections=rejections + judgement.rejections,
        inventory_revision=message.inventory_revision,
    )


def _covered(policy: InForce, scene: Scene) -> Mask:
    if policy.target_selector is None:
        return np.ones(len(scene.rows), dtype=bool)
    return np.fromiter(
        (policy.covers(scene.inventory.target(row)) for row in scene.rows), dtype=bool, count=len(scene.rows)
    )


def _begin(policy: InForce, rule: Rule, covered: Mask, engine: Engine, scene: Scene) -> Begun:
    try:
        program = engine.compile(rule.expression, policy.definitions, policy.workspace)
        text = rule.message_expression and engine.compile(
            rule.message_expression, policy.definitions, policy.workspace, "string"
        )
    except Exhausted as exhausted:
        return Begun(policy, rule, covered, str(exhausted))
    except InvalidExpression as invalid:
        if policy.id == INLINE:
            raise InvalidInlineRule(f"policy rule {rule.name} is invalid at {invalid}") from None
        return Begun(policy, rule, covered, f"invalid at {invalid}")
    here = Scene(scene.inventory, scene.rows[covered], scene.context, scene.now, policy.workspace)
    work = engine.begin(program, here)
    wording = _wording(text, rule, work, engine, here) if text and rule.effect in DECISIVE else None
    return Begun(policy, rule, covered, work, wording)


def _wording(text: Program, rule: Rule, work: Evaluation | Pending, engine: Engine, scene: Scene) -> Wording:
    """For the targets that the rule excludes, or for all where that is not known yet."""
    if isinstance(work, Evaluation):
        return engine.wording(text, scene, np.flatnonzero(work.outcomes == DECISIVE[rule.effect]))
    return engine.wording(text, scene, np.arange(len(scene.rows)))


async def _finish(begun: Begun, engine: Engine) -> Judged:
    outcomes: Outcomes = np.full(len(begun.covered), NONE, dtype=np.uint8)
    if isinstance(begun.work, str):
        outcomes[begun.covered] = ERROR
        return Judged(begun.policy, begun.rule, outcomes, error=begun.work)
    evaluation = await engine.finish(begun.work)
    outcomes[begun.covered] = evaluation.outcomes
    messages = _messages(begun, evaluation, begun.wording) if begun.wording else ()
    return Judged(begun.policy, begun.rule, outcomes, error=evaluation.error, messages=messages)


def _messages(begun: Begun, evaluation: Evaluation, wording: Wording) -> tuple[str, ...]:
    """The rule's own words per target, for those that it excludes."""
    excluded = np.flatnonzero(evaluation.outcomes == DECISIVE[begun.rule.effect])
    words = np.full(len(begun.covered), "", dtype=object)
    words[np.flatnonzero(begun.covered)[excluded]] = wording.texts(excluded)
    return tuple(words)
