"""Mistakes in an expression that show without types: unknown names, functions and fields, counts, nesting. Pure."""

import difflib
from collections.abc import Collection, Iterator

from services.policy.functions import FUNCTIONS
from services.policy.language.diagnostics import Diagnostic
from services.policy.language.syntax import MACROS, NAMESPACES, OPERATORS, Call, Macro, Name, Select, SyntaxNode
from services.policy.language.variables import PARAMS, RECORDS, VARIABLES

MAX_COMPREHENSIONS = 2
"""Comprehensions inside one another: work grows by the length of a list with each."""

NAMESPACE = "variables"
RESERVED = NAMESPACES | {NAMESPACE, "cel"}

STANDARD: dict[str, tuple[int, int]] = {
    # name: fewest and most arguments, the one before the dot included
    "size": (1, 1), "type": (1, 1), "dyn": (1, 1),
    "contains": (2, 2), "startsWith": (2, 2), "endsWith": (2, 2), "matches": (2, 2),
    "bool": (1, 1), "bytes": (1, 1), "double": (1, 1), "int": (1, 1), "string": (1, 1), "uint": (1, 1),
    "duration": (1, 1), "timestamp": (1, 1),
    "getDate": (1, 2), "getDayOfMonth": (1, 2), "getDayOfWeek": (1, 2), "getDayOfYear": (1, 2),
    "getFullYear": (1, 2), "getMonth": (1, 2), "getHours": (1, 2), "getMilliseconds": (1, 2),
    "getMinutes": (1, 2), "getSeconds": (1, 2),
    # strings, encoders, regular expressions
    "charAt": (2, 2), "format": (2, 2), "indexOf": (2, 3), "join": (1, 2), "lastIndexOf": (2, 3), "lowerAscii": (1, 1),
    "replace": (3, 4), "reverse": (1, 1), "split": (2, 3), "strings.quote": (1, 1), "substring": (2, 3), "trim": (1, 1),
    "upperAscii": (1, 1), "base64.encode": (1, 1), "base64.decode": (1, 1),
    "regex.extract": (2, 2), "regex.extractAll": (2, 2), "regex.replace": (3, 4),
    # numbers
    "math.greatest": (1, 99), "math.least": (1, 99), "math.ceil": (1, 1), "math.floor": (1, 1), "math.round": (1, 1),
    "math.trunc": (1, 1), "math.abs": (1, 1), "math.sign": (1, 1), "math.sqrt": (1, 1), "math.isInf": (1, 1),
    "math.isNaN": (1, 1), "math.isFinite": (1, 1), "math.bitOr": (2, 2), "math.bitAnd": (2, 2), "math.bitXor": (2, 2),
    "math.bitNot": (1, 1), "math.bitShiftLeft": (2, 2), "math.bitShiftRight": (2, 2),
    # lists and sets
    "distinct": (1, 1), "flatten": (1, 2), "lists.range": (1, 1), "slice": (3, 3), "sort": (1, 1),
    "sets.contains": (2, 2), "sets.equivalent": (2, 2), "sets.intersects": (2, 2),
    # optionals
    "optional.of": (1, 1), "optional.ofNonZeroValue": (1, 1), "optional.none": (0, 0), "hasValue": (1, 1),
    "value": (1, 1), "or": (2, 2), "orValue": (2, 2),
    # methods of Kubernetes' types that are operators here (cel/expand.py)
    "isGreaterThan": (2, 2), "isLessThan": (2, 2), "compareTo": (2, 2), "add": (2, 2), "sub": (2, 2),
    "asApproximateFloat": (1, 1),
}  # fmt: skip
"""The functions of CEL and of its usual libraries that rules can call, beside operators and macros."""


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
            yield from _name(node, scope, variables)
        case Select(operand=Name(name="variables")):
            if node.field not in variables:
                message = f"undeclared variable `variables.{node.field}`"
                yield Diagnostic(node.line, node.column, message, suggest(node.field, variables))
        case Select(operand=Name() as owner) if owner.name not in scope:
            yield from _field(node, owner)
            yield from _name(owner, scope, variables)
        case Macro():
            yield from _macro(node, scope, variables, depth)
        case _:
            if isinstance(node, Call):
                yield from _call(node)
            for child in node.children():
                yield from _lint(child, scope, variables, depth)


TYPES = frozenset(("bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"))
"""Names of types, which are values: what `type(x)` may be compared with."""


def _name(node: Name, scope: frozenset[str], variables: Collection[str]) -> Iterator[Diagnostic]:
    if node.name == "params" and PARAMS not in variables and node.name not in scope:
        yield Diagnostic(node.line, node.column, "`params` is what `spec.paramRef` names, and there is none")
    elif node.name == "params":
        return
    elif node.name == NAMESPACE:
        yield Diagnostic(node.line, node.column, "`variables` is used by its fields only, as `variables.<name>`")
    elif node.name not in scope and node.name not in VARIABLES and node.name not in TYPES:
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
        known = FUNCTIONS.keys() | STANDARD.keys() | (MACROS.keys() | {"has"} if node.member else {"has"})
        yield Diagnostic(node.line, node.column, f"undeclared function `{node.name}`", suggest(node.name, known))


def _macro(node: Macro, scope: frozenset[str], variables: Collection[str], depth: int) -> Iterator[Diagnostic]:
    yield from _lint(node.operand, scope, variables, depth)
    for number, name in enumerate(node.variables):
        taken = name in VARIABLES or name in RESERVED or (name == "params" and PARAMS in variables)
        if taken or name in scope or name in node.variables[:number]:
            yield Diagnostic(node.line, node.column, f"`{name}` has a meaning already; name it otherwise")
        elif name.startswith("__"):
            yield Diagnostic(node.line, node.column, f"`{name}`: names do not begin with two underscores")
    loops = node.name not in ("bind", "optMap", "optFlatMap")
    if loops and depth >= MAX_COMPREHENSIONS:
        message = f"more than {MAX_COMPREHENSIONS} comprehensions inside one another"
        yield Diagnostic(node.line, node.column, message)
    else:
        for body in node.bodies:
            yield from _lint(body, scope.union(node.variables), variables, depth + loops)
