"""From cel-python's parse tree to ours; what a literal means is said by literals.py."""

from typing import Any

from lark import Token, Tree

from services.policy.cel.literals import read_bytes, read_double, read_int, read_string, read_uint
from services.policy.language.diagnostics import Diagnostic, InvalidExpression
from services.policy.language.syntax import (
    MACROS,
    NAMESPACES,
    Call,
    Has,
    Index,
    Listing,
    Literal,
    Macro,
    Mapping,
    Maybe,
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


def convert(tree: Tree[Any]) -> SyntaxNode:  # noqa: C901 - one case for each production of the grammar
    """Our tree. Raises `InvalidExpression` for what the grammar takes and rules may not use."""
    while tree.data not in _LEAVES and len(tree.children) == 1:
        (tree,) = tree.children
    children: list[Any] = tree.children
    at = (tree.meta.line, tree.meta.column)
    match tree.data:
        case "expr" if len(children) == 3:
            return Call(*at, "_?_:_", tuple(map(convert, children)))
        case "conditionalor" | "conditionaland" if len(children) == 2:
            return Call(*at, _OPERATORS[tree.data], tuple(map(convert, children)))
        case "relation" | "addition" | "multiplication" if len(children) == 2:
            left, right = children
            return Call(*at, _OPERATORS[left.data], (convert(left.children[0]), convert(right)))
        case "unary" if len(children) == 2:
            return Call(*at, _OPERATORS[children[0].data], (convert(children[1]),))
        case "literal":
            return _literal(children[0], at)
        case "ident":
            return Name(*at, str(children[0]))
        case "member_dot" | "member_opt_dot":
            field = str(children[1]).strip("`")
            return Select(*_place(children[1], at), convert(children[0]), field, tree.data == "member_opt_dot")
        case "member_index" | "member_opt_index":
            return Index(*at, convert(children[0]), convert(children[1]), tree.data == "member_opt_index")
        case "member_dot_arg":
            return _member_call(children, at)
        case "ident_arg":
            return _call(children, at)
        case "list_lit":
            return Listing(*at, tuple(map(convert, children)))
        case "map_lit":
            return Mapping(*at, tuple(convert(each) for pair in children for each in pair.children))
        case "optional":
            return Maybe(*at, convert(children[0]))
        case "dot_ident" | "dot_ident_arg":
            raise _refused(at, "names do not start with a dot")
        case "member_object":
            raise _refused(at, "rules cannot build messages")
        case other:
            raise _refused(at, f"unexpected {other}")


_LEAVES = frozenset(
    {"literal", "ident", "list_lit", "map_lit", "optional", "ident_arg", "dot_ident", "dot_ident_arg", "member_object"}
)


def _arguments(children: list[Any]) -> tuple[SyntaxNode, ...]:
    return tuple(map(convert, children[0].children)) if children else ()


def _call(children: list[Any], at: tuple[int, int]) -> SyntaxNode:
    name = _function_name(children[0], at)
    arguments = _arguments(children[1:])
    if name != "has":
        return Call(*at, name, arguments)
    if len(arguments) != 1 or not isinstance(arguments[0], Select):
        raise _refused(at, "has() takes one field selection, such as has(target.labels.zone)")
    return Has(*at, arguments[0])


def _member_call(children: list[Any], at: tuple[int, int]) -> SyntaxNode:
    operand, token = convert(children[0]), children[1]
    here = _place(token, at)
    name = _function_name(token, here)
    arguments = _arguments(children[2:])
    if isinstance(operand, Name) and operand.name == "cel" and name == "bind":
        if len(arguments) != 3 or not isinstance(arguments[0], Name):
            raise _refused(here, "cel.bind() takes a name, a value and an expression, such as cel.bind(x, 1, x == 1)")
        return Macro(*here, "bind", arguments[1], (arguments[0].name,), (arguments[2],))
    if isinstance(operand, Name) and operand.name in NAMESPACES:
        return Call(*here, f"{operand.name}.{name}", arguments)
    if name not in MACROS:
        return Call(*here, name, (operand, *arguments), member=True)
    count = MACROS[name].get(len(arguments), 0)
    if not count or not all(isinstance(each, Name) for each in arguments[:count]):
        names = ", ".join("xy"[: min(MACROS[name].values())])
        raise _refused(here, f"{name}() takes a variable and an expression, such as {name}({names}, x == 1)")
    variables = tuple(each.name for each in arguments[:count] if isinstance(each, Name))
    return Macro(*here, name, operand, variables, arguments[count:])


def _place(token: Token, at: tuple[int, int]) -> tuple[int, int]:
    return (token.line or at[0], token.column or at[1])


def _function_name(token: Token, at: tuple[int, int]) -> str:
    """Operators are calls to us, by names such as `_in_`; those are not for rules to write."""
    if token.startswith("_"):
        raise _refused(at, f"undeclared function `{token}`")
    return str(token)


def _literal(token: Token, at: tuple[int, int]) -> Literal:
    text = token.value
    try:
        match token.type:
            case "INT_LIT":
                return Literal(*at, "int", read_int(text))
            case "UINT_LIT":
                return Literal(*at, "uint", read_uint(text))
            case "FLOAT_LIT":
                return Literal(*at, "double", read_double(text))
            case "BOOL_LIT":
                return Literal(*at, "bool", text == "true")
            case "NULL_LIT":
                return Literal(*at, "null_type", None)
            case "BYTES_LIT":
                return Literal(*at, "bytes", read_bytes(text))
            case _:
                return Literal(*at, "string", read_string(text))
    except ValueError:
        raise _refused(at, f"`{text[:40]}` is out of range or malformed") from None


def _refused(at: tuple[int, int], message: str) -> InvalidExpression:
    return InvalidExpression([Diagnostic(*at, message)])
