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
class Node:
    """Base of all: where it stands in the text, counted from 1."""

    line: int
    column: int

    def children(self) -> "tuple[Node, ...]":
        """The nodes right below."""
        return ()


@dataclass(frozen=True, slots=True)
class Literal(Node):
    """A constant; `kind` is its CEL type, `value` plain Python."""

    kind: str
    value: Any


@dataclass(frozen=True, slots=True)
class Name(Node):
    """A variable."""

    name: str


@dataclass(frozen=True, slots=True)
class Select(Node):
    """`operand.field`."""

    operand: Node
    field: str

    def children(self) -> tuple[Node, ...]:
        return (self.operand,)


@dataclass(frozen=True, slots=True)
class Index(Node):
    """`operand[index]`."""

    operand: Node
    index: Node

    def children(self) -> tuple[Node, ...]:
        return (self.operand, self.index)


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A function or operator; with `member`, written `first.name(...)`."""

    name: str
    arguments: tuple[Node, ...]
    member: bool = False

    def children(self) -> tuple[Node, ...]:
        return self.arguments


@dataclass(frozen=True, slots=True)
class Has(Node):
    """`has(e.f)`."""

    operand: Node

    def children(self) -> tuple[Node, ...]:
        return (self.operand,)


@dataclass(frozen=True, slots=True)
class Macro(Node):
    """`operand.exists(variable, body)` and its like."""

    name: str
    operand: Node
    variable: str
    body: Node

    def children(self) -> tuple[Node, ...]:
        return (self.operand, self.body)


@dataclass(frozen=True, slots=True)
class Listing(Node):
    """`[a, b]`."""

    items: tuple[Node, ...]

    def children(self) -> tuple[Node, ...]:
        return self.items


@dataclass(frozen=True, slots=True)
class Mapping(Node):
    """`{k: v}`, as keys and values in turn."""

    entries: tuple[Node, ...]

    def children(self) -> tuple[Node, ...]:
        return self.entries


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it, each before its children."""
    stack = [node]
    while stack:
        current = stack.pop()
        yield current
        stack.extend(reversed(current.children()))


def names(node: Node) -> frozenset[str]:
    """All variables that are mentioned, those of macros included."""
    return frozenset(each.name for each in walk(node) if isinstance(each, Name))


def path_of(node: Node) -> tuple[str, ...] | None:
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
