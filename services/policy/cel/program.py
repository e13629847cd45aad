"""A rule, compiled: bounded, linted, type-checked, its policy's variables in place; and how it is evaluated."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from services.policy.cel import reference
from services.policy.cel.checker import Checker
from services.policy.cel.convert import Origins, convert
from services.policy.cel.expand import Tree, expand
from services.policy.evaluation import memo
from services.policy.language.diagnostics import Diagnostic, InvalidExpression
from services.policy.language.lint import lint
from services.policy.language.syntax import Call, Literal, SyntaxNode, walk
from services.policy.language.variables import VARIABLES
from shared.aio.lru import Lru

PROGRAMS = 1_000
"""Compiled expressions that are kept, least recently used first out."""

SCOPES = 512
"""Lists of variables that are kept, every beginning of one counted."""

CONTEXT = frozenset(VARIABLES) - {"target"}

Definitions = Sequence[tuple[str, str]]
"""A policy's own variables: names and expressions, in order."""


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """`reads` are the paths of `target` that it depends on (None: the whole), `context` the other variables."""

    digest: str
    expression: str
    definitions: tuple[tuple[str, str], ...]
    tree: Tree
    node: SyntaxNode
    origins: Origins
    reads: frozenset[memo.Path] | None
    context: frozenset[str]


class Programs:
    """Compiled expressions by the SHA-256 of their text. What does not compile is remembered as well."""

    def __init__(self, size: int = PROGRAMS) -> None:
        self._known: Lru[str, Program | InvalidExpression] = Lru(size)

    def __contains__(self, digest: str) -> bool:
        return digest in self._known

    def get(self, expression: str, definitions: Definitions = (), *, result: str = "bool") -> Program:
        """The compiled expression. Raises `InvalidExpression`."""
        digest = digest_of(expression, definitions, result)
        known = self._known.get(digest)
        if known is None:
            try:
                known = compile_rule(expression, definitions, result=result)
            except InvalidExpression as error:
                known = error
            self._known.put(digest, known)
        if isinstance(known, InvalidExpression):
            raise InvalidExpression(known.diagnostics)
        return known


def digest_of(expression: str, definitions: Definitions, result: str = "bool") -> str:
    """The key that an expression is known by."""
    parts = [result, expression, *(part for definition in definitions for part in definition)]
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()


def compile_rule(expression: str, definitions: Definitions = (), *, result: str = "bool") -> Program:
    """Parse, lint, check. Raises `InvalidExpression` with all findings; those of a variable name it."""
    scope = _scope(tuple(definitions))
    if isinstance(scope, InvalidExpression):
        raise InvalidExpression(scope.diagnostics)
    tree = expand(_parsed(expression, scope.trees), scope.trees)
    found = scope.checker.check(expression, result)
    if found:
        raise InvalidExpression(found)
    return prepare(expression, definitions, tree, digest_of(expression, definitions, result))


@dataclass(frozen=True, slots=True)
class _Scope:
    """A policy's variables: their trees, and a checker that knows their types."""

    trees: dict[str, Tree]
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
    try:
        tree = expand(_parsed(text, before.trees), before.trees)
    except InvalidExpression as error:
        return _in_variable(name, error.diagnostics)
    kind, found = before.checker.type_of(text)
    if found:
        return _in_variable(name, found)
    types = {**before.checker.variables, name: kind}
    return _Scope({**before.trees, name: tree}, Checker(types))


def tree_of(expression: str, definitions: Definitions = ()) -> Tree:
    """The tree to evaluate, of an expression that has been checked before. Raises `InvalidExpression`."""
    trees: dict[str, Tree] = {}
    for name, text in definitions:
        trees[name] = expand(reference.parse(text), trees)
    return expand(reference.parse(expression), trees)


def prepare(expression: str, definitions: Definitions, tree: Tree, digest: str) -> Program:
    """Facts on a tree that evaluation needs."""
    origins: Origins = {}
    node = convert(tree, origins)
    return Program(
        digest=digest,
        expression=expression,
        definitions=tuple(definitions),
        tree=tree,
        node=node,
        origins=origins,
        reads=memo.reads(node),
        context=memo.variables_read(node, CONTEXT),
    )


def _parsed(text: str, variables: dict[str, Tree]) -> Tree:
    tree = reference.parse(text)
    node = convert(tree)
    found = lint(node, variables) or [
        Diagnostic(each.line, each.column, f"`{each.value[:40]}` is no regular expression")
        for each in _patterns(node)
        if not reference.is_regex(each.value)
    ]
    if found:
        raise InvalidExpression(found)
    return tree


def _patterns(node: SyntaxNode) -> Iterator[Literal]:
    for each in walk(node):
        match each:
            case Call(name="matches", arguments=(_, Literal(kind="string") as pattern)):
                yield pattern


def _in_variable(name: str, found: Sequence[Diagnostic]) -> InvalidExpression:
    return InvalidExpression(
        [Diagnostic(each.line, each.column, f"in variable {name}: {each.message}", each.suggestion) for each in found]
    )
