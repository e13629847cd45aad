"""From celpy's parse tree to ours. Literals are read by celpy's own code, so that both mean the same."""

from typing import Any

from celpy import celtypes
from celpy.evaluation import celbytes, celstr
from lark import Token, Tree

from services.policy.language.diagnostics import Diagnostic, InvalidExpression
from services.policy.language.syntax import (
    MACROS,
    Call,
    Has,
    Index,
    Listing,
    Literal,
    Macro,
    Mapping,
    Name,
    Select,
    SyntaxNode,
)

_OPERATORS = {
    "relation_lt": "_<_",
    "relation_le": "_<=_",
    "relation_gt": "_>_",
    "relation_ge": "_>=_",
    "relation_eq": "_==_",
    "relation_ne": "_!=_",
    "relation_in": "_in_",
    "addition_add": "_+_",
    "addition_sub": "_-_",
    "multiplication_mul": "_*_",
    "multiplication_div": "_/_",
    "multiplication_mod": "_%_",
    "unary_not": "!_",
    "unary_neg": "-_",
    "conditionalor": "_||_",
    "conditionaland": "_&&_",
}


Origins = dict[int, Tree[Any]]
"""celpy's tree for each of our nodes, by the node's identity, for as long as the node lives."""


def convert(tree: Tree[Any], origins: Origins | None = None) -> SyntaxNode:
    """Our tree; fills `origins`. Raises `InvalidExpression` for what the grammar takes and rules may not use."""
    converter = _Converter({} if origins is None else origins)
    return converter.convert(tree)


class _Converter:
    def __init__(self, origins: Origins) -> None:
        self._origins = origins

    def convert(self, tree: Tree[Any]) -> SyntaxNode:
        node = self._convert(tree)
        self._origins[id(node)] = tree  # the outermost tree of a node comes last, and is one that celpy can visit
        return node

    def _convert(self, tree: Tree[Any]) -> SyntaxNode:  # noqa: C901 - one case for each production of the grammar
        children: list[Any] = tree.children
        at = (tree.meta.line, tree.meta.column)
        match tree.data:
            case "expr" if len(children) == 3:
                return Call(*at, "_?_:_", tuple(map(self.convert, children)))
            case "conditionalor" | "conditionaland" if len(children) == 2:
                return Call(*at, _OPERATORS[tree.data], tuple(map(self.convert, children)))
            case "relation" | "addition" | "multiplication" if len(children) == 2:
                left, right = children
                return Call(*at, _OPERATORS[left.data], (self.convert(left.children[0]), self.convert(right)))
            case "unary" if len(children) == 2:
                return Call(*at, _OPERATORS[children[0].data], (self.convert(children[1]),))
            case "literal":
                return _literal(children[0], at)
            case "ident":
                return Name(*at, str(children[0]))
            case "member_dot":
                return Select(*_place(children[1], at), self.convert(children[0]), str(children[1]))
            case "member_index":
                return Index(*at, self.convert(children[0]), self.convert(children[1]))
            case "member_dot_arg":
                return self._member_call(children, at)
            case "ident_arg":
                return self._call(children, at)
            case "list_lit":
                return Listing(*at, self._arguments(children))
            case "map_lit":
                return Mapping(*at, self._arguments(children))
            case "dot_ident" | "dot_ident_arg":
                raise _refused(at, "names do not start with a dot")
            case "member_object":
                raise _refused(at, "rules cannot build messages")
            case _ if len(children) == 1:
                return self.convert(children[0])
            case other:
                raise _refused(at, f"unexpected {other}")

    def _arguments(self, children: list[Any]) -> tuple[SyntaxNode, ...]:
        return tuple(self.convert(each) for each in children[0].children) if children else ()

    def _call(self, children: list[Any], at: tuple[int, int]) -> SyntaxNode:
        name = _function_name(children[0], at)
        arguments = self._arguments(children[1:])
        if name != "has":
            return Call(*at, name, arguments)
        if len(arguments) != 1 or not isinstance(arguments[0], Select):
            raise _refused(at, "has() takes one field selection, such as has(target.labels.zone)")
        return Has(*at, arguments[0])

    def _member_call(self, children: list[Any], at: tuple[int, int]) -> SyntaxNode:
        operand, token = self.convert(children[0]), children[1]
        here = _place(token, at)
        name = _function_name(token, here)
        arguments = self._arguments(children[2:])
        if name not in MACROS:
            return Call(*here, name, (operand, *arguments), member=True)
        if len(arguments) != 2 or not isinstance(arguments[0], Name):
            raise _refused(here, f"{name}() takes a variable and an expression, such as {name}(x, x == 1)")
        return Macro(*here, name, operand, arguments[0].name, arguments[1])


def _place(token: Token, at: tuple[int, int]) -> tuple[int, int]:
    return (token.line or at[0], token.column or at[1])


def _function_name(token: Token, at: tuple[int, int]) -> str:
    """celpy keeps its operators among the functions, by names such as `_in_`; those are not for rules to call."""
    if token.startswith("_"):
        raise _refused(at, f"undeclared function `{token}`")
    return str(token)


def _literal(token: Token, at: tuple[int, int]) -> Literal:
    text = token.value
    try:
        match token.type:
            case "INT_LIT":
                return Literal(*at, "int", int(celtypes.IntType(text)))
            case "UINT_LIT":
                return Literal(*at, "uint", int(celtypes.UintType(text[:-1])))
            case "FLOAT_LIT":
                return Literal(*at, "double", float(text))
            case "BOOL_LIT":
                return Literal(*at, "bool", text == "true")
            case "NULL_LIT":
                return Literal(*at, "null_type", None)
            case "BYTES_LIT":
                return Literal(*at, "bytes", bytes(celbytes(token)))
            case _:
                return Literal(*at, "string", str(celstr(token)))
    except ValueError:
        raise _refused(at, f"`{text[:40]}` is out of range or malformed") from None


def _refused(at: tuple[int, int], message: str) -> InvalidExpression:
    return InvalidExpression([Diagnostic(*at, message)])
