"""Evaluates a compiled rule over many targets, in the cheapest way that answers as the engine does (standard.py).

1. columns: all targets at once, for rules over single values of the target;
2. memo: the engine once per distinct combination of what the rule reads, remembered over messages;
3. target: the engine once per target, for rules that read the target as a whole.

What is not provably cheap runs in a child process that is killed at its deadline. What is done in the worker is paid
for before it is done, by estimate, out of what the rule's workspace has, and in turns (`gate`), so that nobody's rules
hold up the event loop for long. Expressions are compiled in a thread.
"""

import asyncio
import math
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from services.policy.cel import calls, standard
from services.policy.cel.isolation import Isolation
from services.policy.cel.program import SCOPES, Definitions, Program, Programs, compilation, compile_seconds, digest_of
from services.policy.cel.protocol import Answer, Job
from services.policy.evaluation import memo
from services.policy.evaluation.allowance import TURN_SECONDS, Allowances, Turn, Work
from services.policy.evaluation.arrays import Failed, Unvectorisable
from services.policy.evaluation.columns import RowNumbers, TargetColumns, freeze
from services.policy.evaluation.outcomes import ERROR, Outcomes
from services.policy.evaluation.vector import Vectoriser
from services.policy.functions import FUNCTIONS, FunctionError
from services.policy.functions.regex import matches
from services.policy.language.syntax import SyntaxNode, walk
from services.policy.language.variables import TARGET, read_target, read_targets
from shared.aio.gate import Gate
from shared.aio.lru import Lru
from shared.model.target import Target

INLINE_COST = 20_000
"""Nodes that the engine may visit in this process for one rule of one message: some 10 milliseconds."""

CHUNK = 1_000
"""Targets that are handed to a child at a time, fewer where much is read of each."""

NODE_SECONDS = 5e-7
"""What the engine takes to visit a node, roughly."""

READ_SECONDS = 6e-6
"""What it takes to read one field of one target for the engine, roughly."""

LOOK_SECONDS = 6e-6
"""What it takes to see whether the answer for a group of targets is known, roughly."""

ASK_SECONDS = 6e-5
"""What it takes to ask for one that is not, beside reading, roughly."""

COUNTED_GROUPS = 2_500
"""Beyond them the cost counts no more: many targets are nobody's hostile doing."""

FREE_NODES, STEP_SECONDS = 50, 2e-5
"""An expression up to that size costs nothing over columns that are there; a larger one, that for each of its nodes."""

INLINE_SECONDS = 2.0
"""What all rules of one workspace may take in this process, by estimate; a tenth of real time comes back."""

SEND_SECONDS = 2e-5
"""What it takes to hand one target to a child and to have its answer, beside reading, roughly."""

PREPARE_SECONDS = 1e-5
"""What it takes to compile one node of an expression, roughly."""

CONSTANT_SECONDS = 2e-5
"""What it takes to evaluate a part of a rule that does not mention the target, roughly."""

MEMO_SIZE = 50_000
"""Outcomes that are remembered over messages, least recently used first out."""

LONGEST_TEXT = 256
"""Characters of a message that a rule makes."""

EXHAUSTED = "the rules of this workspace have used up their time for now"

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
    """An evaluation that waits for the engine in a child process, with all that it needs of the inventory.

    `targets` are those whose answers are open, as they were, and `fields` what the rule reads of them (None: all).
    """

    groups: memo.Groups
    answers: list[Answer | None]
    keys: list[Any] | None
    job: Job
    targets: Sequence[Target]
    fields: frozenset[str] | None
    now: float
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

    def texts(self, positions: Positions) -> tuple[str, ...]:
        """A text for each of these positions; empty where it fails."""
        wanted = self.group_of[np.searchsorted(self.positions, positions)].tolist()
        words = {group: self._text({**self.context, "target": self.targets[group]}) for group in set(wanted)}
        return tuple(words[group] for group in wanted)

    def _text(self, variables: Mapping[str, Any]) -> str:
        found, failed = calls.answers(self.program.calls, variables)
        value, _ = standard.evaluate(self.program.compiled, {**variables, **found}, failed)
        return " ".join(value.split())[:LONGEST_TEXT] if isinstance(value, str) else ""


class Exhausted(Exception):
    """A tenant has used up its time; the message says so."""


class Engine:
    """Rules in, outcomes out. `isolation` runs what could visit more than `inline_cost` nodes.

    `gate` is what a message goes through for each turn in which its rules are begun.
    """

    def __init__(
        self, isolation: Isolation, inline_cost: float = INLINE_COST, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._inline_cost = inline_cost
        self._clock = clock
        self._allowances = Allowances(full=INLINE_SECONDS)
        self.programs = Programs()
        self.gate = Gate()
        self._isolation = isolation
        self._memo: Lru[Any, Answer] = Lru(MEMO_SIZE)
        self._compiler = ThreadPoolExecutor(1, thread_name_prefix="compile")
        self._defined: Lru[Definitions, bool] = Lru(SCOPES)  # what was paid for
        self._compiling: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    @contextmanager
    def work(self, tenant: str, turn: Turn) -> Iterator[Work]:
        """What one rule of a tenant may take in this process; what it took is taken off at the end."""
        now = self._clock()
        work = Work(self._allowances.left(tenant, now) if math.isfinite(self._inline_cost) else math.inf, turn)
        try:
            yield work
        finally:
            self._allowances.spend(tenant, work.spent, now)

    async def compile(self, expression: str, definitions: Definitions, tenant: str, result: str = "bool") -> Program:
        """The compiled expression, which the tenant pays for before it is compiled.

        That is done in a thread, one text at a time, and for each tenant one after the other. Raises
        `InvalidExpression`; `Exhausted` where the tenant has not as much time left.
        """
        digest = digest_of(expression, definitions, result)
        if digest not in self.programs:
            await asyncio.sleep(0)  # to look at many texts takes long as well
            new = () if self._defined.get(definitions) else definitions
            now, seconds = self._clock(), compile_seconds(expression, new)
            if self._allowances.left(tenant, now) < seconds:
                raise Exhausted(EXHAUSTED)
            self._allowances.spend(tenant, seconds, now)
            self._defined.put(definitions, True)
            async with self._compiling.setdefault(tenant, asyncio.Lock()):
                if digest not in self.programs:
                    compiling = partial(compilation, expression, definitions, result=result)
                    found = await asyncio.get_running_loop().run_in_executor(self._compiler, compiling)
                    self.programs.keep(digest, found)
                    if definitions and isinstance(found, Program):  # nobody knew how large they make it
                        self._allowances.spend(tenant, found.nodes * PREPARE_SECONDS, now)
        return self.programs.get(expression, definitions, result=result)

    async def evaluate(self, program: Program, scene: Scene, method: Method | None = None) -> Evaluation:
        """Evaluate on every row of the scene, in one turn; a method that is given is the first that is tried."""
        with self.work(scene.tenant, Turn(math.inf)) as work:
            begun = self.begin(program, scene, work, method)
        return await self.finish(begun)

    def begin(self, program: Program, scene: Scene, work: Work, method: Method | None = None) -> "Evaluation | Pending":
        """The outcomes, or what is left to do for them. The inventory is read here only, and not awaited over.

        Raises `Exhausted` where the tenant's time does not even do to look at the targets, and `TurnOver`: what was
        done until then is remembered, so that it gets further when it is called again in another turn.
        """
        why = "asked for"
        if method in (None, "columns"):
            try:
                return _in_columns(program, scene, work)
            except Unvectorisable as reason:
                why = str(reason)
        paths = None if method == "target" else program.reads
        method = "target" if paths is None else "memo"
        groups = memo.group(scene.inventory, paths, scene.rows, scene.now, work)
        look = min(len(groups), COUNTED_GROUPS) * LOOK_SECONDS
        if work.spent + look > work.limit:
            raise Exhausted(EXHAUSTED)
        context = {name: scene.context[name] for name in sorted(program.context)}
        keys = None
        answers: list[Answer | None] = [None] * len(groups)
        if groups.told_by is not None and "now" not in program.context and work.afford(look, kept=False):
            keys = groups.keys((program.digest, freeze(list(context.values()))))
            answers = list(map(self._memo.get, keys or ()))
        open_ = [number for number, answer in enumerate(answers) if answer is None]
        targets = [scene.inventory.target(row) for row in scene.rows[groups.representatives[open_]].tolist()]
        read = self._read_here(program, targets, scene.now, work)
        if read is not None:
            self._take(answers, keys, zip(_outcomes(program, context, read), repeat(True), strict=False))
            return _spread(groups, answers, method, why)
        job = Job(program.digest, program.text, dict(program.calls), context, [], program.together)
        return Pending(groups, answers, keys, job, targets, _fields(program), scene.now, scene.tenant, method, why)

    def _read_here(
        self, program: Program, targets: Sequence[Target], now: float, work: Work
    ) -> list[dict[str, Any]] | None:
        """The targets, read, where the engine may evaluate the rule on them in this process; None where it may not."""
        if math.isfinite(self._inline_cost) and not program.cheap:
            return None
        fields = _fields(program)
        each = ASK_SECONDS + _reading(fields)
        if len(targets) * program.steps.fixed > self._inline_cost or not work.afford(len(targets) * each, kept=False):
            return None
        read = read_targets(targets, now, fields)
        nodes = sum(program.steps.each(read)) if program.steps.loops else len(read) * program.steps.fixed
        return read if nodes <= self._inline_cost and work.afford(nodes * NODE_SECONDS, kept=False) else None

    async def finish(self, begun: "Evaluation | Pending") -> Evaluation:
        """The outcomes of what was begun. Raises `Unavailable`."""
        if isinstance(begun, Evaluation):
            return begun
        found: list[tuple[Answer, bool]] = []
        each = SEND_SECONDS + _reading(begun.fields)
        size = min(CHUNK, int(TURN_SECONDS / each))
        for at in range(0, len(begun.targets), size):
            chunk = begun.targets[at : at + size]
            async with self.gate.through(begun.tenant):
                now, seconds = self._clock(), (len(chunk) * each if at < COUNTED_GROUPS else 0.0)
                if math.isfinite(self._inline_cost) and self._allowances.left(begun.tenant, now) < seconds:
                    found += [(("e", EXHAUSTED), False)] * (len(begun.targets) - at)
                    break
                self._allowances.spend(begun.tenant, seconds, now)
                read = read_targets(chunk, begun.now, begun.fields)
            found += await self._isolation.run(msgspec.structs.replace(begun.job, targets=read), begun.tenant)
        self._take(begun.answers, begun.keys, found)
        return _spread(begun.groups, begun.answers, begun.method, begun.why)

    def wording(self, program: Program, scene: Scene, positions: Positions, work: Work) -> "Wording | None":
        """What it takes to word messages for these rows of the scene later on; the inventory is read here only.

        None where that would take long. Raises `TurnOver`.
        """
        rows = scene.rows[positions]
        groups = memo.group(scene.inventory, program.reads, rows, scene.now, work)
        targets = [scene.inventory.target(row) for row in rows[groups.representatives].tolist()]
        read = self._read_here(program, targets, scene.now, work)
        if read is None:
            return None
        context = {name: scene.context[name] for name in program.context}
        return Wording(program, positions, groups.group_of, read, context)

    def _take(self, answers: list[Answer | None], keys: list[Any] | None, found: Iterable[tuple[Answer, bool]]) -> None:
        """Fill the open answers in order, and remember those that are final."""
        open_ = [number for number, answer in enumerate(answers) if answer is None]
        for number, (answer, final) in zip(open_, found, strict=True):
            answers[number] = answer
            if keys is not None and final:
                self._memo.put(keys[number], answer)


def _fields(program: Program) -> frozenset[str] | None:
    """The fields of a target that a rule reads; None where it reads the whole."""
    return None if program.reads is None else frozenset(path[0] for path in program.reads)


def _reading(fields: frozenset[str] | None) -> float:
    """Seconds that it takes to read these fields of one target."""
    return READ_SECONDS * (len(TARGET) if fields is None else len(fields))


def _outcomes(
    program: Program, context: Mapping[str, Any], targets: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, str]]:
    text = program.text if program.together else ""
    return standard.outcomes_on(program.compiled, program.calls, context, targets, text)


def _spread(groups: memo.Groups, answers: Sequence[Answer | None], method: Method, why: str) -> Evaluation:
    """Each group's answer on all of its rows."""
    given = [answer for answer in answers if answer is not None]
    codes = np.fromiter((ord(outcome) for outcome, _ in given), dtype=np.uint8, count=len(given))
    outcomes: Outcomes = codes[groups.group_of] if given else codes
    return Evaluation(outcomes, next((message for outcome, message in given if outcome == "e"), ""), method, why)


def _in_columns(program: Program, scene: Scene, work: Work) -> Evaluation:
    if program.nodes > FREE_NODES and not work.afford(program.nodes * STEP_SECONDS, kept=False):
        raise Unvectorisable("an expression of that size would take too long")

    def constant(node: SyntaxNode) -> Any:
        known = id(node) in program.constants or work.afford(sum(PREPARE_SECONDS for _ in walk(node)))
        ready = program.constant(node) if known else None
        if ready is None or not work.afford(CONSTANT_SECONDS, kept=False):
            raise Unvectorisable("what does not depend on the target may take long")
        found, failed = calls.answers(ready.calls, scene.context)
        try:
            value, message = standard.evaluate(ready.compiled, {**scene.context, **found}, failed, plain=True)
        except TypeError as error:
            raise Unvectorisable(f"a constant {error}") from None
        if message:
            raise Failed(message)
        return value

    vectoriser = Vectoriser(scene.inventory, scene.rows, scene.now, constant, _call, work)
    outcomes = vectoriser.outcomes(program.node)
    failed = np.flatnonzero(outcomes == ERROR)
    error = ""
    if len(failed):
        target = read_target(scene.inventory.target(scene.rows[failed[0]]), scene.now, _fields(program))
        ((_, message),) = _outcomes(program, scene.context, [target])
        error = message or "no answer"
    return Evaluation(outcomes, error, "columns", "single values of the target")


def _call(name: str, arguments: Sequence[Any], member: bool) -> Any:
    """A function or operator on plain values. Raises `Failed`, and `Unvectorisable` for what columns cannot hold."""
    try:
        if name in FUNCTIONS:
            return calls.invoke(name, arguments)
        if name == "matches":
            return matches(*arguments)
    except FunctionError as error:
        raise Failed(str(error)) from None
    try:
        value, message = standard.operate(name, arguments, member=member)
    except TypeError as error:
        raise Unvectorisable(f"{name} gives a {error}") from None
    if message:
        raise Failed(message)
    return value
