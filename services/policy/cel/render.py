"""An expression as text again, for the engine: with as few brackets as it takes, since the engine counts them."""

import re
from collections.abc import Callable

from services.policy.cel.literals import write_bytes, write_string
from services.policy.language.syntax import (
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

_BINARY = {
    "_||_": ("||", 2), "_&&_": ("&&", 3),
    "_<_": ("<", 4), "_<=_": ("<=", 4), "_>_": (">", 4), "_>=_": (">=", 4), "_==_": ("==", 4), "_!=_": ("!=", 4),
    "_in_": ("in", 4), "_+_": ("+", 5), "_-_": ("-", 5), "_*_": ("*", 6), "_/_": ("/", 6), "_%_": ("%", 6),
}  # fmt: skip
"""Signs of operators with how closely they bind; `? :` is 1, signs before a value 7, members 8."""

_IDENTIFIER = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")

Instead = Callable[[SyntaxNode], str | None]
"""A name that stands in place of a node, None where the node is written as it is."""


def render(node: SyntaxNode, instead: Instead = lambda _: None) -> str:
    """The text of an expression."""
    return _Writer(instead).write(node, 0)


class _Writer:
    def __init__(self, instead: Instead) -> None:
        self._instead = instead

    def write(self, node: SyntaxNode, closeness: int) -> str:
        """The text, in brackets where it binds less closely than asked for."""
        name = self._instead(node)
        if name is not None:
            return name
        text, own = self._written(node)
        return f"({text})" if own < closeness else text

    def _written(self, node: SyntaxNode) -> tuple[str, int]:
        match node:
            case Literal():
                text = _literal(node)
                return text, 7 if text.startswith("-") else 9
            case Name():
                return node.name, 9
            case Call():
                return self._call(node)
            case Select():
                sign = ".?" if node.optional else "."
                field = node.field if _IDENTIFIER.fullmatch(node.field) else f"`{node.field}`"
                return f"{self.write(node.operand, 8)}{sign}{field}", 8
            case Index():
                sign = "?" if node.optional else ""
                return f"{self.write(node.operand, 8)}[{sign}{self.write(node.index, 0)}]", 8
            case Has():
                return f"has({self.write(node.operand, 0)})", 9
            case Maybe():
                return f"?{self.write(node.operand, 0)}", 9
            case Listing():
                return f"[{self._list(node.items)}]", 9
            case Mapping():
                pairs = zip(node.entries[::2], node.entries[1::2], strict=True)
                return "{" + ", ".join(f"{self.write(key, 0)}: {self.write(value, 0)}" for key, value in pairs) + "}", 9
            case Macro():
                return self._macro(node)
            case _:
                raise TypeError(f"{type(node).__name__} has no text")

    def _list(self, nodes: tuple[SyntaxNode, ...]) -> str:
        return ", ".join(self.write(each, 0) for each in nodes)

    def _call(self, node: Call) -> tuple[str, int]:
        arguments = node.arguments
        if node.name in _BINARY:
            sign, own = _BINARY[node.name]
            return f"{self.write(arguments[0], own)} {sign} {self.write(arguments[1], own + 1)}", own
        if node.name == "_?_:_":
            condition, yes, no = arguments
            return f"{self.write(condition, 2)} ? {self.write(yes, 2)} : {self.write(no, 1)}", 1
        if node.name in ("!_", "-_"):
            return f"{node.name[0]}{self.write(arguments[0], 8)}", 7
        if node.member:
            return f"{self.write(arguments[0], 8)}.{node.name}({self._list(arguments[1:])})", 8
        return f"{node.name}({self._list(arguments)})", 9

    def _macro(self, node: Macro) -> tuple[str, int]:
        if node.name == "bind":
            return f"cel.bind({node.variables[0]}, {self.write(node.operand, 0)}, {self._list(node.bodies)})", 9
        operand, names = self.write(node.operand, 8), ", ".join(node.variables)
        if node.name in ("transformMap", "transformMapEntry"):
            return self._map_of(node, operand, names), 9
        return f"{operand}.{node.name}({names}, {self._list(node.bodies)})", 8

    def _map_of(self, node: Macro, operand: str, names: str) -> str:
        """The engine lacks these two: a list of maps with one entry each, which is merged."""
        *condition, body = (self.write(each, 0) for each in node.bodies)
        entry = body if node.name == "transformMapEntry" else f"{{{node.variables[0]}: {body}}}"
        return f"{MERGED}({operand}.transformList({', '.join([names, *condition, entry])}))"


MERGED = "__merged"
"""A function of the engine that makes one map of a list of maps."""


def _literal(node: Literal) -> str:
    value = node.value
    match node.kind:
        case "string":
            return write_string(value)
        case "bytes":
            return write_bytes(value)
        case "bool":
            return "true" if value else "false"
        case "null_type":
            return "null"
        case "uint":
            return f"{value}u"
        case "double":
            text = repr(value)
            return text if "." in text or "e" in text else f"{text}.0"
        case _:
            return str(value)
