"""The stage at work: finds the rules and targets that a message is about, has the rules evaluated, and judges."""

import logging
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec
import numpy as np

from services.policy.cel.engine import Engine, Evaluation, Exhausted, Pending, Scene, Wording
from services.policy.cel.isolation import Unavailable
from services.policy.cel.program import Program
from services.policy.core import INLINE, InForce, Judged, in_force, judge
from services.policy.evaluation import memo
from services.policy.evaluation.allowance import Turn, TurnOver, Work
from services.policy.evaluation.columns import RowNumbers, TargetColumns
from services.policy.evaluation.outcomes import ERROR, FALSE, NONE, TRUE, Mask, Outcomes
from services.policy.language.diagnostics import InvalidExpression
from services.policy.language.variables import read_request
from shared.api import Rule, matches
from shared.hub.facts import deciding, selector_facts
from shared.model.decision import Rejection
from shared.model.policy import PolicyEntry
from shared.model.reasons import RejectionCode, Stage
from shared.pipeline.messages import Discovered, Evaluated
from shared.process.measured import RULES

log = logging.getLogger("moorage.policy")

MOST_RULES = 512
"""Rules of all policies together that may hold for one placement."""

MOST_BEGINNINGS = 20
"""How often the rules of a message begin anew since the inventory changed, before it comes again later."""

RULE_SECONDS, ROW_SECONDS = 1e-4, 5e-8
"""What a rule takes at least, roughly, and each row of it, where all that it reads is there."""

REQUIREMENT_SECONDS = 1e-6
"""What it takes to ask labels for one requirement of a selector, roughly."""

UNCOVERED = "the policies of this workspace have used up their time for now"

DECISIVE = {"Forbid": TRUE, "Require": FALSE}
"""The outcome with which a rule excludes a target."""


class InvalidInlineRule(Exception):
    """A rule of the placement itself that is invalid; the message is one sentence for its author."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A rule that can be evaluated, with the expression that words its messages; or what hinders that, in words."""

    policy: InForce
    rule: Rule
    program: Program | None = None
    text: Program | None = None
    hindered: str = ""


@dataclass(frozen=True, slots=True)
class Begun:
    """A rule whose evaluation has begun, on the rows that its policy covers."""

    policy: InForce
    rule: Rule
    covered: Mask
    work: Evaluation | Pending | str  # a text: it cannot be evaluated, and why
    wording: Wording | None = None  # for the targets that it excludes
    program: Program | None = None


async def evaluate(
    message: Discovered,
    inventory: TargetColumns,
    policies: Sequence[PolicyEntry],
    engine: Engine,
    now: float,
    revision: int = 0,
    unchecked: Collection[str] = (),
) -> Evaluated:
    """Judge the discovered targets by every rule in force; `now` in seconds since the epoch, the inventory being at a
    `revision`.

    All rules see the inventory as it is once they are compiled, however long some of them take. `unchecked` are the
    policies, by id, that could not be checked within a check's time and memory: these are not evaluated.

    Raises `Unavailable` where that is to be tried again later.
    """
    holding, ready, begun, invalid = in_force(message.request, policies, now), list[Ready](), list[Begun](), ""
    if sum(len(policy.rules) for policy in holding) > MOST_RULES:
        invalid = f"more than {MOST_RULES} policy rules hold for it"
    else:
        try:
            ready = await compiled(holding, engine, unchecked)
        except InvalidInlineRule as error:
            invalid = str(error)
    if invalid or not ready:
        rows = inventory.rows(message.targets)
    else:
        rows, begun = await _begun(message, ready, inventory, engine, now)
    ids, rejections = message.targets, message.rejections
    if (rows < 0).any():
        gone, ids = _some(ids, np.flatnonzero(rows < 0)), _some(ids, np.flatnonzero(rows >= 0))
        code, words = RejectionCode.TARGET_GONE, "is no longer offered"
        rejections += (Rejection(stage=Stage.POLICY, reason=code, message=words, targets=gone),)
    if invalid:
        return Evaluated(
            request=message.request,
            targets=(),
            rejections=rejections,
            inventory_revision=message.inventory_revision,
            error=invalid,
        )
    if not ready:  # as in most places: nothing is to be judged
        return Evaluated(
            request=message.request,
            targets=ids,
            rejections=rejections,
            inventory_revision=message.inventory_revision,
            facts_revision=revision,
        )
    judgement = judge(ids, [await finish(each, engine) for each in begun])
    return Evaluated(
        request=message.request,
        targets=_some(ids, judgement.kept),
        scores=judgement.scores,
        rules=judgement.rules,
        rejections=rejections + judgement.rejections,
        warnings=judgement.warnings,
        inventory_revision=message.inventory_revision,
        facts=tuple(sorted(set().union(*map(_facts, begun)))),
        facts_revision=revision,
    )


async def compiled(policies: Iterable[InForce], engine: Engine, unchecked: Collection[str] = ()) -> list[Ready]:
    """The rules of these policies, in their order. Raises `InvalidInlineRule`."""
    return [await _ready(policy, rule, engine, unchecked) for policy in policies for rule in policy.rules]


def begin(ready: Sequence[Ready], scene: Scene, engine: Engine) -> list[Begun]:
    """Begin with all rules on all rows of the scene in one turn. Raises `Unavailable`."""
    begun: list[Begun] = []
    _begin_some(ready, begun, {}, engine, scene, Turn(math.inf))
    return begun


def _facts(begun: Begun) -> set[str]:
    """The facts by which a rule allows targets or not; none for one that only says how much it likes them."""
    if not begun.policy.enforced or begun.rule.effect not in DECISIVE:
        return set()
    reads = begun.program.reads if begun.program is not None else ()
    return deciding(reads) | selector_facts(begun.policy.target_selector)


def _some(ids: tuple[str, ...], places: RowNumbers) -> tuple[str, ...]:
    """The ids in these places, which are in order."""
    return ids if len(places) == len(ids) else tuple(ids[place] for place in places.tolist())


async def _begun(
    message: Discovered, ready: Sequence[Ready], inventory: TargetColumns, engine: Engine, now: float
) -> tuple[RowNumbers, list[Begun]]:
    """All rules begun on one state of the inventory, and the row of each of the message's targets in it.

    They are begun in turns. Where the inventory changes while others have theirs, all begin anew: what was read is
    remembered, so that this goes quickly.
    """
    context, tenant = read_request(message.request, now), message.request.placement.workspace
    for _ in range(MOST_BEGINNINGS):
        version, begun, covering = inventory.version, list[Begun](), dict[str, Mask]()
        rows = inventory.rows(message.targets)
        scene = Scene(inventory, rows[rows >= 0], context, now, tenant)
        while inventory.version == version:
            async with engine.gate.through(tenant):
                if inventory.version == version and _begin_some(ready, begun, covering, engine, scene, Turn()):
                    return rows, begun
    raise Unavailable("the inventory changes faster than the rules of this placement can be begun")


def _begin_some(
    ready: Sequence[Ready], begun: list[Begun], covering: dict[str, Mask], engine: Engine, scene: Scene, turn: Turn
) -> bool:
    """Begin with as many more rules as the turn allows; True where all are begun. Raises `Unavailable`."""
    with suppress(TurnOver):
        for each in ready[len(begun) :]:
            turn.take(RULE_SECONDS + len(scene.rows) * ROW_SECONDS)
            begun.append(_begin(each, covering, engine, scene, turn))
    return len(begun) == len(ready)


def _covered(policy: InForce, scene: Scene, work: Work) -> Mask:
    """The rows that a policy covers: its selector is asked once for all targets of the same labels."""
    selector = policy.target_selector
    if selector is None:
        return np.ones(len(scene.rows), dtype=bool)
    columns = memo.columns(scene.inventory, [("labels",)], scene.now, work)
    if columns is None:
        raise Unavailable(UNCOVERED)
    (labels,) = columns
    asking = (len(selector.match_labels) + len(selector.match_expressions) + 1) * REQUIREMENT_SECONDS

    def covers(labels: Mapping[str, str]) -> bool:
        if not work.afford(asking):
            raise Unavailable(UNCOVERED)
        return matches(selector, labels)

    answers = labels.table(("covers", msgspec.json.encode(selector)), covers)
    return np.array(answers, dtype=bool)[labels.values[scene.rows]]


async def _ready(policy: InForce, rule: Rule, engine: Engine, unchecked: Collection[str]) -> Ready:
    """A rule, compiled. Whatever goes wrong in it is its own outcome, and nobody else's. Raises `InvalidInlineRule`."""
    if policy.id in unchecked:
        return Ready(policy, rule, hindered="its policy could not be checked within the time and memory of a check")
    if policy.hindered:
        return Ready(policy, rule, hindered=policy.hindered)
    try:
        program = await engine.compile(rule.expression, policy.definitions, policy.workspace)
        words = rule.message_expression if rule.effect in DECISIVE else None
        text = await engine.compile(words, policy.definitions, policy.workspace, "string") if words else None
    except Exhausted as exhausted:
        return Ready(policy, rule, hindered=str(exhausted))
    except InvalidExpression as invalid:
        if policy.id == INLINE:
            raise InvalidInlineRule(f"policy rule {rule.name} is invalid at {invalid}") from None
        return Ready(policy, rule, hindered=f"invalid at {invalid}")
    except Exception as error:  # noqa: BLE001 - one rule must not end the round of the others
        return Ready(policy, rule, hindered=_failed(policy, rule, error))
    return Ready(policy, rule, program, text)


def _failed(policy: InForce, rule: Rule, error: Exception) -> str:
    """What is said of a rule whose evaluation raised what nobody expected: no text that may quote values."""
    log.error("a rule could not be evaluated", extra={"policy": policy.id, "rule": rule.name}, exc_info=error)
    return f"cannot be evaluated ({type(error).__name__})"


def _begin(ready: Ready, covering: dict[str, Mask], engine: Engine, scene: Scene, turn: Turn) -> Begun:
    """Begin with a rule. Raises `Unavailable` and `TurnOver`, and nothing else."""
    policy, rule = ready.policy, ready.rule
    with engine.work(policy.workspace, turn) as work:
        if policy.id not in covering:
            covering[policy.id] = _covered(policy, scene, work)
        covered = covering[policy.id]
        if ready.program is None:
            return Begun(policy, rule, covered, ready.hindered)
        here = Scene(scene.inventory, scene.rows[covered], scene.context, scene.now, policy.workspace)
        try:
            begun = engine.begin(ready.program, here, work)
            wording = _wording(ready.text, rule, begun, engine, here, work) if ready.text else None
        except (Unavailable, TurnOver):
            raise
        except Exhausted as exhausted:
            return Begun(policy, rule, covered, str(exhausted))
        except Exception as error:  # noqa: BLE001 - one rule must not end the round of the others
            return Begun(policy, rule, covered, _failed(policy, rule, error))
        return Begun(policy, rule, covered, begun, wording, ready.program)


def _wording(
    text: Program, rule: Rule, begun: Evaluation | Pending, engine: Engine, scene: Scene, work: Work
) -> Wording | None:
    """For the targets that the rule excludes, or for all where that is not known yet; None where it would take long."""
    positions = np.arange(len(scene.rows))
    if isinstance(begun, Evaluation):
        positions = np.flatnonzero(begun.outcomes == DECISIVE[rule.effect])
    return engine.wording(text, scene, positions, work)


async def finish(begun: Begun, engine: Engine) -> Judged:
    """The outcomes of a rule that was begun. Raises `Unavailable`."""
    outcomes: Outcomes = np.full(len(begun.covered), NONE, dtype=np.uint8)
    if isinstance(begun.work, str):
        RULES.add("none")
        outcomes[begun.covered] = ERROR
        return Judged(begun.policy, begun.rule, outcomes, error=begun.work)
    try:
        evaluation = await engine.finish(begun.work)
        messages = await _messages(begun, evaluation, begun.wording, engine) if begun.wording else ()
    except Unavailable:
        raise  # nothing is known of the rule
    except Exception as error:  # noqa: BLE001 - one rule must not end the round of the others
        RULES.add("none")
        outcomes[begun.covered] = ERROR
        return Judged(begun.policy, begun.rule, outcomes, error=_failed(begun.policy, begun.rule, error))
    RULES.add(evaluation.method)
    outcomes[begun.covered] = evaluation.outcomes
    return Judged(begun.policy, begun.rule, outcomes, error=evaluation.error, messages=messages)


async def _messages(begun: Begun, evaluation: Evaluation, wording: Wording, engine: Engine) -> tuple[str, ...]:
    """The rule's own words per target, for those that it excludes."""
    excluded = np.flatnonzero(evaluation.outcomes == DECISIVE[begun.rule.effect])
    words = np.full(len(begun.covered), "", dtype=object)
    async with engine.gate.through(begun.policy.workspace):
        words[np.flatnonzero(begun.covered)[excluded]] = wording.texts(excluded)
    return tuple(words)
