"""Rewriting of an expression before it is evaluated: variables, implicit arguments, methods that are operators.

`variables.x` becomes the expression of the variable, so that every method of evaluation sees one expression, and a
variable that a rule does not use costs nothing. A variable that is used twice is one tree here, and counts twice.
"""

from collections.abc import Mapping
from dataclasses import replace

from services.policy.functions import FUNCTIONS
from services.policy.language.diagnostics import Diagnostic, InvalidExpression
from services.policy.language.parameters import looked_up
from services.policy.language.syntax import Call, Has, Literal, Name, Select, SyntaxNode, with_children
from services.policy.language.variables import PARAMS, RECORDS, TARGET

MAX_NODES = 10_000
"""Nodes of an expression with all variables in place: variables that use variables twice double it at each step."""

MAX_TEXT = 65_536
"""Characters of all its literals together, counted as often as they are used."""

MAX_DEPTH = 300
"""Levels of it; the engine allows fewer brackets."""

_OPERATORS = {"isGreaterThan": "_>_", "isLessThan": "_<_", "add": "_+_", "sub": "_-_"}
"""Methods of Kubernetes' quantities and versions that are operators of what these are here: doubles, and texts that are
ordered as versions are."""


def expand(node: SyntaxNode, variables: Mapping[str, SyntaxNode]) -> SyntaxNode:
    """The expression with everything filled in. Raises `InvalidExpression`: an unknown variable, or too large."""
    expanded = _rewrite(node, variables)
    nodes, text, depth = _size(expanded, {})
    if depth > MAX_DEPTH:
        raise InvalidExpression([Diagnostic(1, 1, "with all variables filled in, it is nested too deep")])
    if nodes > MAX_NODES or text > MAX_TEXT:
        message = f"with all variables filled in it has {_most(nodes)} parts and {_most(text)} characters of literals"
        raise InvalidExpression([Diagnostic(1, 1, f"{message}, at most {MAX_NODES} and {MAX_TEXT} are allowed")])
    return expanded


def _size(node: SyntaxNode, known: dict[int, tuple[int, int, int]]) -> tuple[int, int, int]:
    """Nodes, characters and levels, each shared tree looked at once."""
    found = known.get(id(node))
    if found is None:
        nodes, text, depth = 1, 0, 1
        if isinstance(node, Literal) and isinstance(node.value, str | bytes):
            text = len(node.value)
        for child in node.children():
            more = _size(child, known)
            nodes, text, depth = nodes + more[0], text + more[1], max(depth, more[2] + 1)
        found = known[id(node)] = (nodes, text, depth)
    return found


def _most(number: int) -> str:
    return str(number) if number < 10**9 else "over 1000000000"


def _rewrite(node: SyntaxNode, variables: Mapping[str, SyntaxNode]) -> SyntaxNode:
    match node:
        case Select(operand=Name(name="variables")):
            if node.field not in variables:
                message = f"undeclared variable `variables.{node.field}`"
                raise InvalidExpression([Diagnostic(node.line, node.column, message)])
            return variables[node.field]
        case Name(name="params") if PARAMS in variables:
            return variables[PARAMS]
        case Call():
            return _method(_with_implicit(with_children(node, [_rewrite(each, variables) for each in node.arguments])))
        case Has(operand=Select(operand=Select(operand=Name(name="target")) as record)) if _is_record(record):
            return Call(node.line, node.column, "_&&_", (Has(node.line, node.column, record), node))
        case Has(operand=Select(operand=inner) as selected):
            return looked_up(Has(node.line, node.column, with_children(selected, [_rewrite(inner, variables)])))
        case _ if node.children():
            return looked_up(with_children(node, [_rewrite(each, variables) for each in node.children()]))
        case _:
            return node


def _is_record(node: Select) -> bool:
    """True for a field of the target that is a record: of one that is not there, no field is there, without error."""
    return node.field in TARGET and TARGET[node.field].type in RECORDS


def _with_implicit(node: SyntaxNode) -> SyntaxNode:
    function = FUNCTIONS.get(node.name) if isinstance(node, Call) and not node.member else None
    if function is None or not isinstance(node, Call) or not function.implicit:
        return node
    if any(len(node.arguments) == len(overload) for overload in function.overloads):
        return node
    return replace(node, arguments=(Name(node.line, node.column, function.implicit), *node.arguments))


def _method(node: SyntaxNode) -> SyntaxNode:
    """What a method means in operators: the same in every way of evaluation."""
    if not (isinstance(node, Call) and node.member):
        return node
    at = (node.line, node.column)
    match node.name, node.arguments:
        case (("isGreaterThan" | "isLessThan" | "add" | "sub"), (left, right)):
            if isinstance(right, Literal) and right.kind == "int":
                right = Literal(*at, "double", float(right.value))
            return Call(*at, _OPERATORS[node.name], (left, right))
        case "compareTo", (left, right):
            below = Call(*at, "_?_:_", (Call(*at, "_<_", (left, right)), _int(at, -1), _int(at, 0)))
            return Call(*at, "_?_:_", (Call(*at, "_>_", (left, right)), _int(at, 1), below))
        case "asApproximateFloat", (amount,):
            return amount
    return node


def _int(at: tuple[int, int], value: int) -> Literal:
    return Literal(*at, "int", value)
