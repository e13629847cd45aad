"""Mistakes in an expression that show without types: unknown names, functions and fields, counts, nesting. Pure."""

import difflib
from collections.abc import Collection, Iterator

from services.policy.functions import FUNCTIONS
from services.policy.language.diagnostics import Diagnostic
from services.policy.language.syntax import MACROS, OPERATORS, Call, Macro, Name, Select, SyntaxNode
from services.policy.language.variables import RECORDS, VARIABLES

MAX_COMPREHENSIONS = 2
"""Comprehensions inside one another: work grows by the length of a list with each."""

NAMESPACE = "variables"

STANDARD: dict[str, tuple[int, int]] = {
    # name: fewest and most arguments, the one before the dot included
    "size": (1, 1), "type": (1, 1), "dyn": (1, 1),
    "contains": (2, 2), "startsWith": (2, 2), "endsWith": (2, 2), "matches": (2, 2),
    "bool": (1, 1), "bytes": (1, 1), "double": (1, 1), "int": (1, 1), "string": (1, 1), "uint": (1, 1),
    "duration": (1, 1), "timestamp": (1, 1),
    "getDate": (1, 2), "getDayOfMonth": (1, 2), "getDayOfWeek": (1, 2), "getDayOfYear": (1, 2),
    "getFullYear": (1, 2), "getMonth": (1, 2), "getHours": (1, 2), "getMilliseconds": (1, 2),
    "getMinutes": (1, 2), "getSeconds": (1, 2),
}  # fmt: skip
"""The functions of CEL that rules can call, beside operators and macros."""


def lint(node: SyntaxNode, variables: Collection[str] = ()) -> list[Diagnostic]:
    """All findings in reading order; `variables` are the policy's own, usable as `variables.<name>`."""
    found = list(_lint(node, frozenset(), variables, 0))
    return sorted(found, key=lambda each: (each.line, each.column))


def suggest(word: str, known: Collection[str]) -> str:
    """`did you mean ...?` with the nearest known word, or nothing where none is near."""
    near = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return f"did you mean `{near[0]}`?" if near else ""


def _lint(node: SyntaxNode, scope: frozenset[str], variables: Collection[str], depth: int) -> Iterator[Diagnostic]:
    match node:
        case Name():
            yield from _name(node, scope)
        case Select(operand=Name(name="variables")):
            if node.field not in variables:
                message = f"undeclared variable `variables.{node.field}`"
                yield Diagnostic(node.line, node.column, message, suggest(node.field, variables))
        case Select(operand=Name() as owner) if owner.name not in scope:
            yield from _field(node, owner)
            yield from _name(owner, scope)
        case Macro():
            yield from _macro(node, scope, variables, depth)
        case _:
            if isinstance(node, Call):
                yield from _call(node)
            for child in node.children():
                yield from _lint(child, scope, variables, depth)


def _name(node: Name, scope: frozenset[str]) -> Iterator[Diagnostic]:
    if node.name == NAMESPACE:
        yield Diagnostic(node.line, node.column, "`variables` is used by its fields only, as `variables.<name>`")
    elif node.name not in scope and node.name not in VARIABLES:
        hint = suggest(node.name, scope | VARIABLES.keys())
        yield Diagnostic(node.line, node.column, f"undeclared name `{node.name}`", hint)


def _field(node: Select, owner: Name) -> Iterator[Diagnostic]:
    record, _ = VARIABLES.get(owner.name, ("", ""))
    fields = RECORDS.get(record)
    if fields is not None and node.field not in fields:
        message = f"`{owner.name}` has no field `{node.field}`"
        yield Diagnostic(node.line, node.column, message, suggest(node.field, fields))


def _call(node: Call) -> Iterator[Diagnostic]:
    count = len(node.arguments)
    if node.name in FUNCTIONS:
        function = FUNCTIONS[node.name]
        counts = {len(overload) for overload in function.overloads}
        if function.implicit and not node.member:
            counts |= {each - 1 for each in counts}
        if count not in counts:
            yield Diagnostic(node.line, node.column, f"`{node.name}` does not take {count} arguments", function.example)
    elif node.name in STANDARD:
        fewest, most = STANDARD[node.name]
        if not fewest <= count <= most:
            yield Diagnostic(node.line, node.column, f"`{node.name}` does not take {count} arguments")
    elif node.name not in OPERATORS:
        known = FUNCTIONS.keys() | STANDARD.keys() | (MACROS | {"has"} if node.member else {"has"})
        yield Diagnostic(node.line, node.column, f"undeclared function `{node.name}`", suggest(node.name, known))


def _macro(node: Macro, scope: frozenset[str], variables: Collection[str], depth: int) -> Iterator[Diagnostic]:
    yield from _lint(node.operand, scope, variables, depth)
    if node.variable in VARIABLES or node.variable in scope or node.variable == NAMESPACE:
        yield Diagnostic(node.line, node.column, f"`{node.variable}` has a meaning already; name it otherwise")
    if depth >= MAX_COMPREHENSIONS:
        message = f"more than {MAX_COMPREHENSIONS} comprehensions inside one another"
        yield Diagnostic(node.line, node.column, message)
    else:
        yield from _lint(node.body, scope | {node.variable}, variables, depth + 1)
