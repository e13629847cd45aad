"""Rewriting of parse trees before they are evaluated: a policy's own variables, and implicit arguments.

`variables.x` becomes the tree of the variable's expression, so that every tier of evaluation sees one expression, and
a variable that a rule does not use costs nothing.
"""

from collections.abc import Mapping
from typing import Any

from lark import Token, Tree

from services.policy.diagnostics import Diagnostic, InvalidExpression
from services.policy.functions import FUNCTIONS

MAX_NODES = 20_000
"""Nodes of a tree with all variables in place: variables that use variables twice double in size at each step."""

NAMESPACE = "variables"

Node = Tree[Any]


def expand(tree: Node, variables: Mapping[str, Node]) -> Node:
    """The tree with `variables.<name>` and implicit arguments filled in; the given trees stay as they are.

    Raises `InvalidExpression` for an unknown variable, and where the result would be too large.
    """
    expanded = _rewrite(tree, variables)
    if size(expanded) > MAX_NODES:
        raise InvalidExpression([Diagnostic(1, 1, "too large with its variables filled in")])
    return expanded


def size(tree: Node) -> int:
    """Nodes of a tree, shared subtrees counted as often as they are used (up to the bound, where counting stops)."""
    count = 0
    stack: list[Any] = [tree]
    while stack and count <= MAX_NODES:
        count += 1
        stack.extend(getattr(stack.pop(), "children", ()))
    return count


def _rewrite(node: Node, variables: Mapping[str, Node]) -> Node:
    name = variable_of(node)
    if name is not None:
        if name not in variables:
            known = ", ".join(sorted(variables)) or "none"
            message = f"undeclared variable `variables.{name}` (known: {known})"
            raise InvalidExpression([Diagnostic(node.meta.line, node.meta.column, message)])
        return Tree("primary", [Tree("paren_expr", [variables[name]], node.meta)], node.meta)
    children = [_rewrite(child, variables) if isinstance(child, Tree) else child for child in node.children]
    if node.data == "ident_arg":
        children = _with_implicit(node, children)
    return Tree(node.data, children, node.meta)


def variable_of(node: Node) -> str | None:
    """`x` where the node is `variables.x`, else None."""
    if node.data != "member_dot":
        return None
    inner: Any = node.children[0]
    while isinstance(inner, Tree) and inner.data in {"member", "primary"} and len(inner.children) == 1:
        inner = inner.children[0]
    is_namespace = isinstance(inner, Tree) and inner.data == "ident" and inner.children[0] == NAMESPACE
    return str(node.children[1]) if is_namespace else None


def _with_implicit(node: Node, children: list[Any]) -> list[Any]:
    function = FUNCTIONS.get(str(children[0]))
    if function is None or not function.implicit:
        return children
    given = children[1].children if len(children) > 1 else []
    if any(len(given) == len(overload) for overload in function.overloads):
        return children
    variable: Node = Tree("primary", [Tree("ident", [Token("IDENT", function.implicit)], node.meta)], node.meta)
    return [children[0], Tree("exprlist", [variable, *given], node.meta)]
