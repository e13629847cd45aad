"""A rule, compiled: bounded, linted, type-checked, its policy's variables in place; and how it is evaluated."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from services.policy.cel.calls import Argument, Calls
from services.policy.cel.checker import Checker
from services.policy.cel.convert import convert
from services.policy.cel.expand import expand
from services.policy.cel.grammar import parse
from services.policy.cel.guards import MAX_TOKENS
from services.policy.cel.render import render
from services.policy.cel.standard import TooDeep, compile_text
from services.policy.evaluation import memo
from services.policy.functions import FUNCTIONS, FunctionError
from services.policy.functions.regex import compiled
from services.policy.language.diagnostics import Diagnostic, InvalidExpression
from services.policy.language.lint import lint
from services.policy.language.parameters import tree
from services.policy.language.syntax import OPERATORS, Call, Literal, Macro, SyntaxNode, walk
from services.policy.language.variables import PARAMS, VARIABLES
from shared.aio.lru import Lru

PROGRAM_TEXT = 4 << 20
"""Characters of the compiled expressions that are kept, each at least 4,096: at most 1,024, least recently used first
out."""

SCOPES = 512
"""Lists of variables that are kept, every beginning of one counted."""

TOKEN_SECONDS = 1.5e-4
"""What a name, number, string or sign takes to compile, roughly."""

SCOPE_SECONDS = 2e-3
"""What the type checker takes to learn of another variable, roughly."""

CONTEXT = frozenset(VARIABLES) - {"target"}

Definitions = tuple[tuple[str, str], ...]
"""A policy's own variables: names and expressions, in order."""

_CHEAP = OPERATORS | {
    "size", "type", "dyn", "contains", "startsWith", "endsWith", "bool", "double", "int", "string", "uint",
    "duration", "timestamp", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear", "getMonth",
    "getHours", "getMilliseconds", "getMinutes", "getSeconds", "lowerAscii", "upperAscii", "trim", "charAt",
    "optional.of", "optional.none", "optional.ofNonZeroValue", "hasValue", "value", "or", "orValue",
    "math.greatest", "math.least", "math.abs", "math.ceil", "math.floor", "math.round", "math.trunc", "math.sign",
}  # fmt: skip
"""Functions that take no more time and memory than what they are given has: the engine evaluates them in the worker."""


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """`node` is the expression, `text` what the engine evaluates, in which `calls` are made beforehand.

    `reads` are the paths of `target` that it depends on (None: the whole), `context` the other variables. `steps` is
    how much the engine does for one target at most: nodes that it visits, and characters that it copies. `cheap`:
    nothing in it takes more than that tells.
    """

    digest: str
    text: str
    node: SyntaxNode
    compiled: Any
    calls: Mapping[str, Argument]
    reads: frozenset[memo.Path] | None
    context: frozenset[str]
    nodes: int
    steps: memo.Cost
    cheap: bool
    constants: dict[int, "Constant | None"] = field(default_factory=dict)  # by the identity of the node

    @property
    def together(self) -> bool:
        """True if the engine may be asked about several targets at once: it takes little time for each."""
        return self.cheap and not self.calls and len(self.text) <= MAX_TOGETHER

    def constant(self, node: SyntaxNode) -> "Constant | None":
        """A part of the expression that does not mention the target, on its own; None where it may take long."""
        if id(node) not in self.constants:
            self.constants[id(node)] = _constant(node)
        return self.constants[id(node)]


@dataclass(frozen=True, slots=True)
class Constant:
    """A part of an expression that the engine evaluates on its own, with the calls that are made beforehand."""

    compiled: Any
    calls: Mapping[str, Argument]


def _constant(node: SyntaxNode) -> Constant | None:
    calls = Calls()
    text = render(node, calls.instead)
    cheap = not calls.left and len(text) + _literals(node) < MAX_INLINE and all(map(_is_cheap, walk(node)))
    steps = memo.cost(node)
    if not cheap or steps.loops or steps.fixed > MAX_CONSTANT:
        return None
    return Constant(compile_text(text), calls.made)


MAX_CONSTANT = 2_000
"""Nodes of a part that does not mention the target, which the engine evaluates in the worker."""

MAX_TOGETHER = 1_000
"""Characters of an expression that is compiled once more, on several targets at once: that is not paid for."""

BASE = 30
"""What an evaluation costs whatever the expression is, in nodes."""


class Programs:
    """Compiled expressions by the SHA-256 of their text. What does not compile is remembered as well."""

    def __init__(self, weight: int = PROGRAM_TEXT) -> None:
        self._known: Lru[str, Program | InvalidExpression] = Lru(weight, weigh=_weight)

    def __contains__(self, digest: str) -> bool:
        return digest in self._known

    def get(self, expression: str, definitions: Definitions = (), *, result: str = "bool") -> Program:
        """The compiled expression. Raises `InvalidExpression`."""
        digest = digest_of(expression, definitions, result)
        known = self._known.get(digest)
        if known is None:
            known = compilation(expression, definitions, result=result)
            self.keep(digest, known)
        if isinstance(known, InvalidExpression):
            raise InvalidExpression(known.diagnostics)
        return known

    def keep(self, digest: str, known: Program | InvalidExpression) -> None:
        """What came of compiling the expression of that digest."""
        self._known.put(digest, known)


def compilation(expression: str, definitions: Definitions = (), *, result: str = "bool") -> Program | InvalidExpression:
    """The compiled expression, or why it does not compile."""
    try:
        return compile_rule(expression, definitions, result=result)
    except InvalidExpression as error:
        return error


def _weight(known: Program | InvalidExpression) -> int:
    """Characters, and as much as the smallest has."""
    return 4_096 + (len(known.text) if isinstance(known, Program) else 0)


def digest_of(expression: str, definitions: Definitions, result: str = "bool") -> str:
    """The key that an expression is known by."""
    return _sha256(f"{_digest(definitions)}\0{result}\0{expression}")


@lru_cache(maxsize=SCOPES)
def _digest(definitions: Definitions) -> str:
    """All rules of a policy share it."""
    return _sha256("\0".join(part for definition in definitions for part in definition))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def compile_seconds(expression: str, definitions: Definitions) -> float:
    """What an expression takes to compile, roughly, and no less, where its variables are not compiled either."""
    texts = (expression, *(text for name, text in definitions if name != PARAMS))
    tokens = sum(min(MAX_TOKENS, len(_TOKEN.findall(text))) for text in texts)
    return 1e-3 + tokens * TOKEN_SECONDS + len(definitions) * SCOPE_SECONDS


_TOKEN = re.compile(r"\w+|[^\s\w]")


def compile_rule(expression: str, definitions: Definitions = (), *, result: str = "bool") -> Program:
    """Parse, lint, check. Raises `InvalidExpression` with all findings; those of a variable name it."""
    scope = _scope(tuple(definitions))
    if isinstance(scope, InvalidExpression):
        raise InvalidExpression(scope.diagnostics)
    node = expand(_parsed(expression, scope.nodes), scope.nodes)
    found = scope.checker.check(expression, result) or list(_bad_patterns(node) if scope.nodes else ())
    if found:
        raise InvalidExpression(found)
    return prepare(node, digest_of(expression, definitions, result))


@dataclass(frozen=True, slots=True)
class _Scope:
    """A policy's variables, and a checker that knows their types."""

    nodes: dict[str, SyntaxNode]
    checker: Checker


@lru_cache(maxsize=SCOPES)
def _scope(definitions: tuple[tuple[str, str], ...]) -> _Scope | InvalidExpression:
    """All rules of a policy share this; what is wrong with it is remembered as well."""
    if not definitions:
        return _Scope({}, Checker())
    before = _scope(definitions[:-1])
    if isinstance(before, InvalidExpression):
        return before
    name, text = definitions[-1]
    if name == PARAMS:
        return _Scope({name: tree(text)}, Checker({name: None}))
    try:
        node = expand(_parsed(text, before.nodes), before.nodes)
    except InvalidExpression as error:
        return _in_variable(name, error.diagnostics)
    kind, found = before.checker.type_of(text)
    if found:
        return _in_variable(name, found)
    types = {**before.checker.variables, name: kind}
    return _Scope({**before.nodes, name: node}, Checker(types))


def node_of(expression: str, definitions: Definitions = ()) -> SyntaxNode:
    """The expression with its variables in place, neither linted nor type-checked. Raises `InvalidExpression`."""
    nodes: dict[str, SyntaxNode] = {}
    for name, text in definitions:
        nodes[name] = tree(text) if name == PARAMS else expand(convert(parse(text)), nodes)
    return expand(convert(parse(expression)), nodes)


def prepare(node: SyntaxNode, digest: str) -> Program:
    """What evaluation needs. Raises `InvalidExpression` where the engine does not take it."""
    calls = Calls()
    text = render(node, calls.instead)
    try:
        ready = compile_text(text)
    except TooDeep as error:
        raise InvalidExpression([Diagnostic(1, 1, f"with all variables filled in, {error}")]) from None
    steps = memo.cost(node)
    copied = len(text) / 16 * (1 + sum(isinstance(each, Call) and each.name == "_+_" for each in walk(node)))
    return Program(
        digest=digest,
        text=text,
        node=node,
        compiled=ready,
        calls=calls.made,
        reads=memo.reads(node),
        context=memo.variables_read(node, CONTEXT),
        nodes=sum(1 for _ in walk(node)),
        steps=memo.Cost(steps.fixed + copied + BASE + 10 * len(calls.made), steps.loops),
        cheap=not calls.left and len(text) + _literals(node) < MAX_INLINE and all(map(_is_cheap, walk(node))),
    )


def _literals(node: SyntaxNode) -> int:
    """Characters of all literals."""
    literals = (each.value for each in walk(node) if isinstance(each, Literal))
    return sum(len(each) for each in literals if isinstance(each, str | bytes))


MAX_INLINE = 4_096
"""Characters of an expression that the engine evaluates in the worker, and of its literals."""


def _is_cheap(node: SyntaxNode) -> bool:
    match node:
        case Call():
            return node.name in _CHEAP or node.name in FUNCTIONS or _is_regex(node)
        case Macro():
            return not node.name.startswith("transformMap")
        case _:
            return True


def _is_regex(node: Call) -> bool:
    """A pattern that was compiled when it was checked, so it is small."""
    return node.name == "matches" and len(node.arguments) == 2 and isinstance(node.arguments[1], Literal)


def _parsed(text: str, variables: Mapping[str, SyntaxNode]) -> SyntaxNode:
    node = convert(parse(text))
    found = lint(node, variables) or list(_bad_patterns(node))
    if found:
        raise InvalidExpression(found)
    return node


def _bad_patterns(node: SyntaxNode) -> Iterator[Diagnostic]:
    for each in walk(node):
        match each:
            case Call(name="matches" | "find" | "findAll", arguments=(_, Literal(kind="string") as pattern, *_)):
                try:
                    compiled(pattern.value)
                except FunctionError as error:
                    message = f"`{pattern.value[:40]}` cannot be used: {error}"
                    yield Diagnostic(max(1, pattern.line), max(1, pattern.column), message)


def _in_variable(name: str, found: Sequence[Diagnostic]) -> InvalidExpression:
    return InvalidExpression(
        [Diagnostic(each.line, each.column, f"in variable {name}: {each.message}", each.suggestion) for each in found]
    )
