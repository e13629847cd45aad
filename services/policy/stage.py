"""The stage at work: finds the rules and targets that a message is about, has the rules evaluated, and judges."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from services.policy.cel.engine import Engine
from services.policy.core import ERROR, INLINE, NONE, InForce, Judged, Outcomes, in_force, judge
from services.policy.diagnostics import InvalidExpression
from services.policy.variables import read_request
from shared.api import Rule
from shared.messages import Discovered, Evaluated
from shared.model import PolicyEntry, Rejection, Target


class InvalidInlineRule(Exception):
    """A rule of the placement itself that is invalid; the message is one sentence for its author."""


async def evaluate(
    message: Discovered, inventory: dict[str, Target], policies: Sequence[PolicyEntry], engine: Engine, now: float
) -> Evaluated:
    """Judge the discovered targets by every rule in force; `now` in seconds since the epoch."""
    present = [inventory[each] for each in message.targets if each in inventory]
    gone = tuple(each for each in message.targets if each not in inventory)
    rejections = message.rejections
    if gone:
        rejections += (Rejection(reason="TargetGone", message="is no longer offered", targets=gone),)
    context = read_request(message.request, now)
    try:
        judged = [
            await _judge_rule(policy, rule, present, engine, context, now)
            for policy in in_force(message.request, policies)
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
    ids = [target.id for target in present]
    verdict = judge(ids, judged)
    return Evaluated(
        request=message.request,
        targets=tuple(ids[index] for index in verdict.kept),
        scores=verdict.scores,
        rules=verdict.rules,
        rejections=rejections + verdict.rejections,
        inventory_revision=message.inventory_revision,
    )


async def _judge_rule(
    policy: InForce, rule: Rule, targets: Sequence[Target], engine: Engine, context: dict[str, Any], now: float
) -> Judged:
    covered = np.fromiter((policy.covers(target) for target in targets), dtype=bool, count=len(targets))
    outcomes: Outcomes = np.full(len(targets), NONE, dtype=np.uint8)
    try:
        program = engine.compile(rule.expression, policy.variables)
    except InvalidExpression as invalid:
        if policy.id == INLINE:
            raise InvalidInlineRule(f"policy rule {rule.name} is invalid at {invalid}") from None
        outcomes[covered] = ERROR
        return Judged(policy, rule, outcomes, error=f"invalid at {invalid}")
    chosen = [target for target, is_covered in zip(targets, covered, strict=True) if is_covered]
    outcomes[covered], error = await engine.outcomes(program, chosen, context, now)
    return Judged(policy, rule, outcomes, error=error)
