"""Parameters as parts of an expression: constants, of which a field is looked up before anything is evaluated. Pure.

They stand nowhere in the text: their line is 0, by which they are told from what the author wrote.
"""

from typing import Any

import msgspec

from services.policy.language.syntax import Has, Index, Listing, Literal, Mapping, Select, SyntaxNode

EMPTY = "{}"
"""Parameters that say nothing, by which expressions are checked."""

_MOST_INT = 2**63


def tree(content: str) -> SyntaxNode:
    """The constant that JSON text stands for."""
    return _tree(msgspec.json.decode(content))


def _tree(value: Any) -> SyntaxNode:
    match value:
        case None:
            return Literal(0, 0, "null_type", None)
        case bool():
            return Literal(0, 0, "bool", value)
        case int() if -_MOST_INT < value < _MOST_INT:
            return Literal(0, 0, "int", value)
        case int() | float():
            return Literal(0, 0, "double", float(value))
        case str():
            return Literal(0, 0, "string", value)
        case list():
            return Listing(0, 0, tuple(map(_tree, value)))
        case _:
            pairs = ((Literal(0, 0, "string", key), _tree(each)) for key, each in value.items())
            return Mapping(0, 0, tuple(node for pair in pairs for node in pair))


def looked_up(node: SyntaxNode) -> SyntaxNode:
    """What stands in a field of parameters, in place of asking for it; what is not there is left to the engine."""
    match node:
        case Select(operand=Mapping(line=0) as map_, optional=False):
            return _field(map_, node.field) or node
        case Index(operand=Mapping(line=0) as map_, index=Literal(kind="string") as key, optional=False):
            return _field(map_, key.value) or node
        case Index(operand=Listing(line=0) as items, index=Literal(kind="int") as place, optional=False):
            return items.items[place.value] if 0 <= place.value < len(items.items) else node
        case Has(operand=Select(operand=Mapping(line=0) as map_)):
            return Literal(node.line, node.column, "bool", _field(map_, node.operand.field) is not None)  # type: ignore[attr-defined] # the pattern says that it is a Select
    return node


def _field(map_: Mapping, name: str) -> SyntaxNode | None:
    entries = map_.entries
    return next((entries[at + 1] for at in range(0, len(entries), 2) if _is(entries[at], name)), None)


def _is(key: SyntaxNode, name: str) -> bool:
    return isinstance(key, Literal) and bool(key.value == name)
