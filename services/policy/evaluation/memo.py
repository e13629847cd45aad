"""The projected memo: evaluate a rule once for each distinct combination of the values that it reads. Pure.

Ten thousand targets with a taints rule have some twenty different lists of taints, so twenty evaluations.
"""

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from services.policy.evaluation.allowance import Work, column_seconds
from services.policy.evaluation.columns import RowNumbers, TargetColumns, Words, distinguisher
from services.policy.functions import FUNCTIONS
from services.policy.language.syntax import (
    Call,
    Index,
    Listing,
    Literal,
    Macro,
    Mapping,
    Name,
    Select,
    SyntaxNode,
    path_of,
    walk,
)
from services.policy.language.variables import TARGET

Path = tuple[str, ...]

SORT_SECONDS = 3e-7
"""What it takes to tell a row from others by one column, roughly."""


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows that a rule cannot tell apart: one representative each, each row's group, and what tells groups apart: a
    list for each path that is read, with a value per group; None where every row is its own group.
    """

    representatives: npt.NDArray[np.intp]  # positions in the rows that were grouped
    told_by: list[list[Hashable]] | None
    group_of: npt.NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.representatives)

    def keys(self, of: Hashable) -> list[Hashable] | None:
        """What stands for each group together with what else the answers depend `of`; None where nothing does."""
        return None if self.told_by is None else list(zip(repeat(of, len(self)), *self.told_by, strict=True))


def reads(node: SyntaxNode) -> frozenset[Path] | None:
    """The paths of `target` that a rule reads; None where it reads the target as a whole."""
    try:
        return frozenset(_reads(node))
    except _Whole:
        return None


class _Whole(Exception):
    pass


def _reads(node: SyntaxNode) -> set[Path]:
    match node:
        case Name(name="target"):
            raise _Whole
        case Select() | Index() if (path := path_of(node, optional=True)) and path[0] == "target":
            return {_known(path[1:])}
        case Call(arguments=(Name(name="target"), *rest)) if node.name in FUNCTIONS and FUNCTIONS[node.name].reads:
            found = set().union(*map(_reads, rest))
            function = FUNCTIONS[node.name]
            key = rest[function.key - 1] if function.key is not None and len(rest) >= function.key else None
            for field in function.reads:
                found.add((field, key.value) if isinstance(key, Literal) and key.kind == "string" else (field,))
            return found
        case _:
            return set().union(*map(_reads, node.children()))


def _known(path: Path) -> Path:
    """At most a field and a key: what lies deeper is told apart by the whole value. An unknown field reads nothing."""
    if path[0] not in TARGET:
        return (path[0],)
    return path[:2] if TARGET[path[0]].type.startswith("map<") else path[:1]


def group(inventory: TargetColumns, paths: frozenset[Path] | None, rows: RowNumbers, now: float, work: Work) -> Groups:
    """Group rows by the values at these paths; without paths, or time to read them, every row is its own group.

    Raises `TurnOver`.
    """
    known = None if paths is None else columns(inventory, paths, now, work)
    if known is None or not work.afford(len(known) * len(rows) * SORT_SECONDS, kept=False):
        own = np.arange(len(rows))
        return Groups(own, None, own)
    group_of = np.zeros(len(rows), dtype=np.intp)
    for column in known:
        codes = np.where(column.missing[rows], 0, column.values[rows] + 1).astype(np.intp)
        group_of = np.unique(group_of * (len(column.distinct) + 1) + codes, return_inverse=True)[1]
    representatives = np.unique(group_of, return_index=True)[1]
    told = rows[representatives]
    return Groups(representatives, [_keys(column, told) for column in known], group_of)


class _Absent(Enum):
    """Stands for no value among values."""

    ABSENT = 0


def _keys(column: Words, rows: RowNumbers) -> list[Hashable]:
    """What tells the values in these rows apart, in Python."""
    values: list[Hashable] = [*column.codes, _Absent.ABSENT]  # in the order of their codes
    codes = np.where(column.missing[rows], -1, column.values[rows])
    return list(map(values.__getitem__, codes.tolist()))


def columns(inventory: TargetColumns, paths: Collection[Path], now: float, work: Work) -> list[Words] | None:
    """The columns that tell the values at these paths apart; None where there is not the time to read them.

    Raises `TurnOver`.
    """
    found = []
    for path in sorted(path for path in paths if path[0] in TARGET):
        key = ("memo", path)
        if not inventory.knows(key, now) and not work.afford(column_seconds(len(inventory))):
            return None
        make, read = distinguisher(path)
        found.append(inventory.words(key, read, now, volatile=TARGET[path[0]].volatile, make=make))
    return found


@dataclass(frozen=True, slots=True)
class Cost:
    """Nodes that are visited at most: `fixed`, and for each element of a list of the target what its loop visits.

    Infinite where a comprehension's list is not known before.
    """

    fixed: float
    loops: "tuple[tuple[Path, Cost], ...]" = ()

    def each(self, targets: Sequence[dict[str, Any]]) -> list[float]:
        """For each of these targets."""
        found = [self.fixed] * len(targets)
        for path, body in self.loops:
            bodies = body.each(targets) if body.loops else repeat(body.fixed)
            looped = zip(found, _lengths(path, targets), bodies, strict=False)
            found = [total + length * steps for total, length, steps in looped]
        return found

    def times(self, number: float) -> "Cost":
        return Cost(self.fixed * number, tuple((path, body.times(number)) for path, body in self.loops))


def cost(node: SyntaxNode) -> Cost:
    """What an expression costs."""
    if not isinstance(node, Macro):
        return _together(1, [cost(each) for each in node.children()])
    operand, body = cost(node.operand), _together(1, [cost(each) for each in node.bodies])
    path = path_of(node.operand)
    if node.name in ("bind", "optMap", "optFlatMap"):
        looped = body
    elif isinstance(node.operand, Listing | Mapping):
        looped = body.times(len(node.operand.children()))
    elif path is not None and path[0] == "target":
        looped = Cost(0, ((path[1:], body),))
    else:
        looped = Cost(float("inf"))
    return _together(0, [operand, looped])


def _together(fixed: float, parts: Sequence[Cost]) -> Cost:
    return Cost(fixed + sum(each.fixed for each in parts), tuple(loop for each in parts for loop in each.loops))


def _lengths(path: Path, targets: Sequence[dict[str, Any]]) -> list[int]:
    """How many elements each target has there; none where there is nothing to loop over."""
    values: Sequence[Any] = targets
    for step in path:
        values = [value.get(step) if isinstance(value, dict) else None for value in values]
    return [len(value) if isinstance(value, _LOOPED) else 0 for value in values]


_LOOPED = (list, tuple, dict)


def variables_read(node: SyntaxNode, known: frozenset[str]) -> frozenset[str]:
    """Which of the known variables beside `target` a rule reads."""
    return frozenset(each.name for each in walk(node) if isinstance(each, Name)) & known
