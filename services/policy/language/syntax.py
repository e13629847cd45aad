"""An expression as a small tree of our own: what the linter, the planner and the columns work on. Pure.

Operators are calls, named as CEL names them: `_&&_`, `_==_`, `!_`, `-_`, `_?_:_`, `_in_`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

MACROS = frozenset({"all", "exists", "exists_one", "filter", "map"})
OPERATORS = frozenset(
    {"_?_:_", "_||_", "_&&_", "!_", "-_", "_+_", "_-_", "_*_", "_/_", "_%_"}
    | {"_<_", "_<=_", "_>_", "_>=_", "_==_", "_!=_", "_in_"}
)


@dataclass(frozen=True, slots=True)
class SyntaxNode:
    """Base of all: where it stands in the text, counted from 1."""

    line: int
    column: int

    def children(self) -> "tuple[SyntaxNode, ...]":
        """The nodes right below."""
        return ()


@dataclass(frozen=True, slots=True)
class Literal(SyntaxNode):
    """A constant; `kind` is its CEL type, `value` plain Python."""

    kind: str
    value: Any


@dataclass(frozen=True, slots=True)
class Name(SyntaxNode):
    """A variable."""

    name: str


@dataclass(frozen=True, slots=True)
class Select(SyntaxNode):
    """`operand.field`."""

    operand: SyntaxNode
    field: str

    def children(self) -> tuple[SyntaxNode, ...]:
        return (self.operand,)


@dataclass(frozen=True, slots=True)
class Index(SyntaxNode):
    """`operand[index]`."""

    operand: SyntaxNode
    index: SyntaxNode

    def children(self) -> tuple[SyntaxNode, ...]:
        return (self.operand, self.index)


@dataclass(frozen=True, slots=True)
class Call(SyntaxNode):
    """A function or operator; with `member`, written `first.name(...)`."""

    name: str
    arguments: tuple[SyntaxNode, ...]
    member: bool = False

    def children(self) -> tuple[SyntaxNode, ...]:
        return self.arguments


@dataclass(frozen=True, slots=True)
class Has(SyntaxNode):
    """`has(e.f)`."""

    operand: SyntaxNode

    def children(self) -> tuple[SyntaxNode, ...]:
        return (self.operand,)


@dataclass(frozen=True, slots=True)
class Macro(SyntaxNode):
    """`operand.exists(variable, body)` and its like."""

    name: str
    operand: SyntaxNode
    variable: str
    body: SyntaxNode

    def children(self) -> tuple[SyntaxNode, ...]:
        return (self.operand, self.body)


@dataclass(frozen=True, slots=True)
class Listing(SyntaxNode):
    """`[a, b]`."""

    items: tuple[SyntaxNode, ...]

    def children(self) -> tuple[SyntaxNode, ...]:
        return self.items


@dataclass(frozen=True, slots=True)
class Mapping(SyntaxNode):
    """`{k: v}`, as keys and values in turn."""

    entries: tuple[SyntaxNode, ...]

    def children(self) -> tuple[SyntaxNode, ...]:
        return self.entries


def walk(node: SyntaxNode) -> Iterator[SyntaxNode]:
    """The node and all below it, each before its children."""
    stack = [node]
    while stack:
        current = stack.pop()
        yield current
        stack.extend(reversed(current.children()))


def names(node: SyntaxNode) -> frozenset[str]:
    """All variables that are mentioned, those of macros included."""
    return frozenset(each.name for each in walk(node) if isinstance(each, Name))


def path_of(node: SyntaxNode) -> tuple[str, ...] | None:
    """`("target", "labels", "a/b")` for `target.labels["a/b"]`: a chain of constant keys from a variable; else None."""
    steps: list[str] = []
    while True:
        match node:
            case Name():
                return (node.name, *reversed(steps))
            case Select():
                steps.append(node.field)
                node = node.operand
            case Index(index=Literal(kind="string")):
                steps.append(node.index.value)  # type: ignore[attr-defined] # the pattern says that it is a Literal
                node = node.operand
            case _:
                return None
