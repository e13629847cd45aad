"""Rewriting of parse trees before they are evaluated: a policy's own variables, and implicit arguments.

`variables.x` becomes the tree of the variable's expression, so that every method of evaluation sees one expression, and
a variable that a rule does not use costs nothing.
"""

from collections.abc import Mapping
from typing import Any

import lark

from services.policy.functions import FUNCTIONS
from services.policy.language.diagnostics import Diagnostic, InvalidExpression

MAX_NODES = 20_000
"""Nodes of a tree with all variables in place: variables that use variables twice double in size at each step."""

MAX_DEPTH = 300
"""Levels of a tree. Each costs celpy about five Python frames; a bracket is ten levels, an operand in a row is one."""

NAMESPACE = "variables"

Tree = lark.Tree[Any]


def expand(tree: Tree, variables: Mapping[str, Tree]) -> Tree:
    """The tree with `variables.<name>` and implicit arguments filled in; the given trees stay as they are.

    Raises `InvalidExpression` for an unknown variable, and where the result would be too large.
    """
    return bounded(_rewrite(tree, variables))


def bounded(tree: Tree) -> Tree:
    """The tree itself, where it is small and flat enough; shared subtrees count as often as they are used.

    Raises `InvalidExpression`.
    """
    count = 0
    stack: list[tuple[Any, int]] = [(tree, 1)]
    while stack:
        node, depth = stack.pop()
        count += 1
        if count > MAX_NODES or depth > MAX_DEPTH:
            raise InvalidExpression([Diagnostic(1, 1, "too many operands in a row, nested too deep, or too large")])
        stack.extend((child, depth + 1) for child in getattr(node, "children", ()))
    return tree


def _rewrite(node: Tree, variables: Mapping[str, Tree]) -> Tree:
    name = variable_of(node)
    if name is not None:
        if name not in variables:
            message = f"undeclared variable `variables.{name}`"
            raise InvalidExpression([Diagnostic(node.meta.line, node.meta.column, message)])
        return lark.Tree("primary", [lark.Tree("paren_expr", [variables[name]], node.meta)], node.meta)
    children = [_rewrite(child, variables) if isinstance(child, lark.Tree) else child for child in node.children]
    if node.data == "ident_arg":
        children = _with_implicit(node, children)
    return lark.Tree(node.data, children, node.meta)


def variable_of(node: Tree) -> str | None:
    """`x` where the node is `variables.x`, else None."""
    if node.data != "member_dot":
        return None
    inner: Any = node.children[0]
    while isinstance(inner, lark.Tree) and inner.data in {"member", "primary"} and len(inner.children) == 1:
        inner = inner.children[0]
    is_namespace = isinstance(inner, lark.Tree) and inner.data == "ident" and inner.children[0] == NAMESPACE
    return str(node.children[1]) if is_namespace else None


def _with_implicit(node: Tree, children: list[Any]) -> list[Any]:
    function = FUNCTIONS.get(str(children[0]))
    if function is None or not function.implicit:
        return children
    given = children[1].children if len(children) > 1 else []
    if any(len(given) == len(overload) for overload in function.overloads):
        return children
    name = lark.Tree("ident", [lark.Token("IDENT", function.implicit)], node.meta)
    variable: Tree = lark.Tree("primary", [name], node.meta)
    return [children[0], lark.Tree("exprlist", [variable, *given], node.meta)]
