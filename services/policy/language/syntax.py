"""An expression as a small tree of our own: what the linter, the planner and the columns work on. Pure.

Operators are calls, named as CEL names them: `_&&_`, `_==_`, `!_`, `-_`, `_?_:_`, `_in_`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

MACROS: dict[str, dict[int, int]] = {
    # how many of the arguments are names, by how many arguments there are
    "all": {2: 1, 3: 2}, "exists": {2: 1, 3: 2}, "exists_one": {2: 1, 3: 2}, "existsOne": {3: 2},
    "filter": {2: 1}, "map": {2: 1, 3: 1},
    "transformList": {3: 2, 4: 2}, "transformMap": {3: 2, 4: 2}, "transformMapEntry": {3: 2, 4: 2},
    "optMap": {2: 1}, "optFlatMap": {2: 1},
}  # fmt: skip
"""Macros that are written as members; `cel.bind(name, value, body)` is one too, whose operand is the value."""

NAMESPACES = frozenset({"base64", "cidr", "ip", "lists", "math", "optional", "regex", "sets", "strings"})
"""What functions may begin with: `math.greatest(1, 2)` calls `math.greatest`."""

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
    """`operand.field`; `operand.?field` where it is optional."""

    operand: SyntaxNode
    field: str
    optional: bool = False

    def children(self) -> tuple[SyntaxNode, ...]:
        return (self.operand,)


@dataclass(frozen=True, slots=True)
class Index(SyntaxNode):
    """`operand[index]`; `operand[?index]` where it is optional."""

    operand: SyntaxNode
    index: SyntaxNode
    optional: bool = False

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
    """`operand.exists(variable, body)` and its like; also `cel.bind(variable, operand, body)`."""

    name: str
    operand: SyntaxNode
    variables: tuple[str, ...]
    bodies: tuple[SyntaxNode, ...]

    def children(self) -> tuple[SyntaxNode, ...]:
        return (self.operand, *self.bodies)


@dataclass(frozen=True, slots=True)
class Maybe(SyntaxNode):
    """`?operand` as an element of a list, or as a key of a map."""

    operand: SyntaxNode

    def children(self) -> tuple[SyntaxNode, ...]:
        return (self.operand,)


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


def path_of(node: SyntaxNode, *, optional: bool = False) -> tuple[str, ...] | None:
    """`("target", "labels", "a/b")` for `target.labels["a/b"]`: a chain of constant keys from a variable; else None.

    With `optional`, also for `target.?labels[?"a/b"]`, which has another value.
    """
    steps: list[str] = []
    while True:
        match node:
            case Name():
                return (node.name, *reversed(steps))
            case Select() if optional or not node.optional:
                steps.append(node.field)
                node = node.operand
            case Index(index=Literal(kind="string")) if optional or not node.optional:
                steps.append(node.index.value)  # type: ignore[attr-defined] # the pattern says that it is a Literal
                node = node.operand
            case _:
                return None


def with_children(node: SyntaxNode, children: Sequence[SyntaxNode]) -> SyntaxNode:
    """The same node over other children, which are as many as `children()` gives."""
    match node:
        case Select() | Has() | Maybe():
            return replace(node, operand=children[0])
        case Index():
            return replace(node, operand=children[0], index=children[1])
        case Call():
            return replace(node, arguments=tuple(children))
        case Macro():
            return replace(node, operand=children[0], bodies=tuple(children[1:]))
        case Listing():
            return replace(node, items=tuple(children))
        case Mapping():
            return replace(node, entries=tuple(children))
        case _:
            return node
