"""The projected memo: evaluate a rule once for each distinct combination of the values that it reads. Pure.

Ten thousand targets with a taints rule have some twenty different lists of taints, so twenty evaluations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from services.policy.evaluation.allowance import Work, column_seconds
from services.policy.evaluation.columns import RowNumbers, TargetColumns, distinguisher, freeze
from services.policy.functions import FUNCTIONS
from services.policy.language.syntax import (
    Call,
    Index,
    Listing,
    Literal,
    Macro,
    Name,
    Select,
    SyntaxNode,
    path_of,
    walk,
)
from services.policy.language.variables import TARGET

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows that a rule cannot tell apart: one representative each, what tells them apart, and each row's group."""

    representatives: npt.NDArray[np.intp]  # positions in the rows that were grouped
    keys: list[Any]
    group_of: npt.NDArray[np.intp]


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
        case Select() | Index() if (path := path_of(node)) is not None and path[0] == "target":
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
    """Group rows by the values at these paths; without paths, or time to read them, every row is its own group."""
    if paths is None or not _affordable(inventory, paths, work):
        own = np.arange(len(rows))
        return Groups(own, [None] * len(rows), own)
    ordered = sorted(path for path in paths if path[0] in TARGET)
    columns = [
        inventory.words(("memo", path), distinguisher(path), now, volatile=TARGET[path[0]].volatile) for path in ordered
    ]
    group_of = np.zeros(len(rows), dtype=np.intp)
    for column in columns:
        codes = np.where(column.missing[rows], 0, column.values[rows] + 1).astype(np.intp)
        group_of = np.unique(group_of * (len(column.distinct) + 1) + codes, return_inverse=True)[1]
    representatives = np.unique(group_of, return_index=True)[1]
    keys = [
        tuple((None,) if column.missing[row] else (freeze(column.distinct[column.values[row]]),) for column in columns)
        for row in rows[representatives]
    ]
    return Groups(representatives, keys, group_of)


def _affordable(inventory: TargetColumns, paths: frozenset[Path], work: Work) -> bool:
    new = [path for path in paths if path[0] in TARGET and not inventory.knows(("memo", path))]
    return work.afford(len(new) * column_seconds(len(inventory)))


def cost(node: SyntaxNode, target: dict[str, Any]) -> float:
    """Nodes that celpy visits at most for this target; infinite where a comprehension's list is not known before."""
    match node:
        case Macro():
            return cost(node.operand, target) + _length(node.operand, target) * (1 + cost(node.body, target))
        case _:
            return 1 + sum(cost(each, target) for each in node.children())


def _length(node: SyntaxNode, target: dict[str, Any]) -> float:
    if isinstance(node, Listing):
        return len(node.items)
    path = path_of(node)
    if path is None or path[0] != "target":
        return float("inf")
    value: Any = target
    for step in path[1:]:
        if not isinstance(value, dict) or step not in value:
            return 0
        value = value[step]
    return len(value) if isinstance(value, Sequence | dict) else 0


def variables_read(node: SyntaxNode, known: frozenset[str]) -> frozenset[str]:
    """Which of the known variables beside `target` a rule reads."""
    return frozenset(each.name for each in walk(node) if isinstance(each, Name)) & known
