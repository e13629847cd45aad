"""Evaluates a compiled rule over many targets, in the cheapest way that answers as celpy does.

1. columns: all targets at once, for rules over single values of the target;
2. memo: celpy once per distinct combination of what the rule reads, remembered over messages;
3. target: celpy once per target, for rules that read the target as a whole.

What is not provably cheap runs in a child process that is killed at its deadline.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from services.policy.cel import reference
from services.policy.cel.isolation import Isolation
from services.policy.cel.program import Definitions, Program, Programs, digest_of
from services.policy.cel.protocol import Answer, Job
from services.policy.evaluation import memo
from services.policy.evaluation.allowance import Allowances, Work
from services.policy.evaluation.columns import RowNumbers, TargetColumns, freeze
from services.policy.evaluation.outcomes import ERROR, Outcomes
from services.policy.evaluation.vector import Failed, Unvectorisable, Vectoriser
from services.policy.language.syntax import SyntaxNode
from services.policy.language.variables import read_target
from shared.aio.lru import Lru

INLINE_COST = 1_000
"""Nodes that celpy may visit in this process for one rule of one message: some 20 milliseconds."""

NODE_SECONDS = 2e-5
"""What celpy takes to visit a node, roughly."""

RULE_SECONDS = 0.5
"""What one rule of one message may take in this process, by estimate, for what was not done before."""

INLINE_SECONDS = 2.0
"""What all rules of one workspace may take in this process, by estimate; a tenth of real time comes back."""

COMPILE_SECONDS = 0.25
"""What the longest expression takes to compile, roughly; with less left of its allowance, a tenant compiles nothing."""

MEMO_SIZE = 50_000
"""Outcomes that are remembered over messages, least recently used first out."""

LONGEST_TEXT = 256
"""Characters of a message that a rule makes."""

Positions = npt.NDArray[np.intp]
"""Places in the rows of a scene."""

Method = Literal["columns", "memo", "target"]


@dataclass(frozen=True, slots=True)
class Scene:
    """The scene of a message's rules: rows of the inventory, the other variables, the time, whose it is."""

    inventory: TargetColumns
    rows: RowNumbers
    context: Mapping[str, Any]
    now: float
    tenant: str


@dataclass(frozen=True, slots=True)
class Pending:
    """An evaluation that waits for celpy in a child process: everything that it needs of the inventory is in here."""

    groups: memo.Groups
    answers: list[Answer | None]
    keys: list[Any] | None
    job: Job
    tenant: str
    method: Method
    why: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One outcome per row, what went wrong on the first row that failed, and how it was evaluated, and why so."""

    outcomes: Outcomes
    error: str
    method: Method
    why: str


@dataclass(frozen=True, slots=True)
class Wording:
    """An expression that words messages, and the values that it reads: one target per group of rows."""

    program: Program
    positions: Positions  # of the rows that can be worded, ascending
    group_of: Positions
    targets: Sequence[dict[str, Any]]
    context: Mapping[str, Any]
    most: float  # nodes that celpy may visit for it

    def texts(self, positions: Positions) -> tuple[str, ...]:
        """A text for each of these positions; empty where it fails, and everywhere where that would take long."""
        wanted = self.group_of[np.searchsorted(self.positions, positions)].tolist()
        groups = sorted(set(wanted))
        if sum(memo.cost(self.program.node, self.targets[group]) for group in groups) > self.most:
            return ("",) * len(wanted)
        shared = {name: reference.to_cel(value) for name, value in self.context.items()}
        words = {group: self._text({**shared, "target": reference.to_cel(self.targets[group])}) for group in groups}
        return tuple(words[group] for group in wanted)

    def _text(self, variables: Mapping[str, Any]) -> str:
        value, _ = reference.evaluate(self.program.tree, variables)
        return " ".join(value.split())[:LONGEST_TEXT] if isinstance(value, str) else ""


class Exhausted(Exception):
    """A tenant has used up its time; the message says so."""


class Engine:
    """Rules in, outcomes out. `isolation` runs what could visit more than `inline_cost` nodes."""

    def __init__(
        self, isolation: Isolation, inline_cost: float = INLINE_COST, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._inline_cost = inline_cost
        self._clock = clock
        self._allowances = Allowances(full=INLINE_SECONDS)
        self.programs = Programs()
        self._isolation = isolation
        self._memo: Lru[Any, Answer] = Lru(MEMO_SIZE)

    def compile(self, expression: str, definitions: Definitions, tenant: str, result: str = "bool") -> Program:
        """The compiled expression. Raises `InvalidExpression`; `Exhausted` where the tenant has no time left."""
        if digest_of(expression, definitions, result) in self.programs:
            return self.programs.get(expression, definitions, result=result)
        begun = self._clock()
        if self._allowances.left(tenant, begun) < COMPILE_SECONDS:
            raise Exhausted("the rules of this workspace have used up their time for now")
        try:
            return self.programs.get(expression, definitions, result=result)
        finally:
            now = self._clock()
            self._allowances.spend(tenant, now - begun, now)

    async def evaluate(self, program: Program, scene: Scene, method: Method | None = None) -> Evaluation:
        """Evaluate on every row of the scene; a method that is given is the first that is tried."""
        return await self.finish(self.begin(program, scene, method))

    def begin(self, program: Program, scene: Scene, method: Method | None = None) -> "Evaluation | Pending":
        """The outcomes, or what is left to do for them. The inventory is read here only, and not awaited over."""
        now = self._clock()
        left = self._allowances.left(scene.tenant, now)
        work = Work(min(left, RULE_SECONDS) if math.isfinite(self._inline_cost) else math.inf)
        try:
            return self._begin(program, scene, method, work)
        finally:
            self._allowances.spend(scene.tenant, work.spent, now)

    def _begin(self, program: Program, scene: Scene, method: Method | None, work: Work) -> "Evaluation | Pending":
        why = "asked for"
        if method in (None, "columns"):
            try:
                return _in_columns(program, scene, work)
            except Unvectorisable as reason:
                why = str(reason)
        paths = None if method == "target" else program.reads
        method = "target" if paths is None else "memo"
        groups = memo.group(scene.inventory, paths, scene.rows, scene.now, work)
        context = {name: scene.context[name] for name in sorted(program.context)}
        keys = None
        answers: list[Answer | None] = [None] * len(groups.keys)
        if None not in groups.keys and "now" not in program.context:
            prefix = (program.digest, freeze(list(context.values())))
            keys = [(prefix, key) for key in groups.keys]
            answers = [self._memo.get(key) for key in keys]
        open_ = [number for number, answer in enumerate(answers) if answer is None]
        targets = _targets(program, scene, [groups.representatives[number] for number in open_])
        nodes = sum(memo.cost(program.node, target) for target in targets)
        if nodes <= self._inline_cost and work.afford(nodes * NODE_SECONDS):
            found = _inline(program, context, targets)
            self._take(answers, keys, [(answer, True) for answer in found])
            return _spread(groups, answers, method, why)
        job = Job(program.digest, program.expression, program.definitions, context, targets)
        return Pending(groups, answers, keys, job, scene.tenant, method, why)

    async def finish(self, begun: "Evaluation | Pending") -> Evaluation:
        """The outcomes of what was begun."""
        if isinstance(begun, Evaluation):
            return begun
        found = await self._isolation.run(begun.job, begun.tenant)
        self._take(begun.answers, begun.keys, found)
        return _spread(begun.groups, begun.answers, begun.method, begun.why)

    def wording(self, program: Program, scene: Scene, positions: Positions) -> "Wording":
        """What it takes to word messages for these rows of the scene later on; the inventory is read here only."""
        rows = scene.rows[positions]
        groups = memo.group(scene.inventory, program.reads, rows, scene.now, Work(RULE_SECONDS))
        targets = _targets(program, replace(scene, rows=rows), groups.representatives)
        context = {name: scene.context[name] for name in program.context}
        return Wording(program, positions, groups.group_of, targets, context, self._inline_cost)

    def _take(self, answers: list[Answer | None], keys: list[Any] | None, found: Sequence[tuple[Answer, bool]]) -> None:
        """Fill the open answers in order, and remember those that are final."""
        open_ = [number for number, answer in enumerate(answers) if answer is None]
        for number, (answer, final) in zip(open_, found, strict=True):
            answers[number] = answer
            if keys is not None and final:
                self._memo.put(keys[number], answer)


def _targets(program: Program, scene: Scene, positions: Iterable[int]) -> list[dict[str, Any]]:
    """The targets at these positions, with the fields only that the rule reads."""
    fields = None if program.reads is None else frozenset(path[0] for path in program.reads)
    return [read_target(scene.inventory.target(scene.rows[each]), scene.now, fields) for each in positions]


def _inline(program: Program, context: Mapping[str, Any], targets: Sequence[dict[str, Any]]) -> list[Answer]:
    shared = {name: reference.to_cel(value) for name, value in context.items()} if targets else {}
    return [reference.outcome_of(program.tree, {**shared, "target": reference.to_cel(target)}) for target in targets]


def _spread(groups: memo.Groups, answers: Sequence[Answer | None], method: Method, why: str) -> Evaluation:
    """Each group's answer on all of its rows."""
    given = [answer for answer in answers if answer is not None]
    codes = np.fromiter((ord(outcome) for outcome, _ in given), dtype=np.uint8, count=len(given))
    outcomes: Outcomes = codes[groups.group_of] if given else codes
    return Evaluation(outcomes, next((message for outcome, message in given if outcome == "e"), ""), method, why)


def _in_columns(program: Program, scene: Scene, work: Work) -> Evaluation:
    shared: dict[str, Any] = {}

    def constant(node: SyntaxNode) -> Any:
        if not shared:
            shared.update({name: reference.to_cel(scene.context[name]) for name in program.context})
        value, message = reference.evaluate(program.origins[id(node)], shared)
        if message:
            raise Failed(message)
        return _plain(value)

    def call(name: str, arguments: Sequence[Any]) -> Any:
        value, message = reference.call(name, [reference.to_cel(each) for each in arguments])
        if message:
            raise Failed(message)
        return _plain(value)

    vectoriser = Vectoriser(scene.inventory, scene.rows, scene.now, constant, call, work)
    outcomes = vectoriser.outcomes(program.node)
    failed = np.flatnonzero(outcomes == ERROR)
    error = ""
    if len(failed):
        target = read_target(scene.inventory.target(scene.rows[failed[0]]), scene.now)
        variables = {name: reference.to_cel(value) for name, value in {**scene.context, "target": target}.items()}
        error = reference.outcome_of(program.tree, variables)[1]
    return Evaluation(outcomes, error, "columns", "single values of the target")


def _plain(value: Any) -> Any:
    try:
        return reference.from_cel(value)
    except TypeError as error:
        raise Unvectorisable(str(error)) from None
