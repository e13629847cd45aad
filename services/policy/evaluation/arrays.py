"""Values of an expression over many rows, and arithmetic on them. Pure."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from services.policy.evaluation.columns import Words

SAFE_INTEGER = 2**31
"""Below this, no product of two integers and no sum of two products leaves 64 bits."""

Array = npt.NDArray[Any]


class Unvectorisable(Exception):
    """This expression, or this data, is not for columns; the message says why."""


class Failed(Exception):
    """The engine's answer is an error."""


@dataclass(frozen=True, slots=True)
class Vector:
    """A value per row. `kind`: bool, int, double or string; strings are indices of the distinct values of `column`.

    A constant has one value, a Python object, in `values`, and `column` None.
    """

    kind: str
    values: Any
    error: Array | bool
    column: "Words | Answers | None" = None
    constant: bool = False


@dataclass(frozen=True, slots=True)
class Answers:
    """Strings that a function answered: as `Words`, for one evaluation. `of_code` has the code of each answer."""

    distinct: list[str]
    codes: dict[str, int]
    of_code: Array

    @classmethod
    def of(cls, answers: Sequence[str | None]) -> "Answers":
        """By what was answered; None is no answer."""
        codes: dict[str, int] = {}
        of_code = [codes.setdefault(each or "", len(codes)) for each in answers]
        return cls(list(codes), codes, np.array(of_code, dtype=np.intp))

    def table(self, _key: Any, look: Callable[[str], Any]) -> list[Any]:
        """`look` at each distinct answer."""
        return [look(each) for each in self.distinct]


COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "_==_": operator.eq,
    "_!=_": operator.ne,
    "_<_": operator.lt,
    "_<=_": operator.le,
    "_>_": operator.gt,
    "_>=_": operator.ge,
}
COMPUTE: dict[str, Callable[[Any, Any], Any]] = {"_+_": operator.add, "_-_": operator.sub, "_*_": operator.mul}
KINDS = {bool: "bool", int: "int", float: "double", str: "string"}


def constant(value: Any, kind: str | None = None) -> Vector:
    kind = kind or KINDS.get(type(value))
    if kind not in KINDS.values():
        raise Unvectorisable("a constant that is no string, number or boolean")
    return Vector(str(kind), value, False, constant=True)


def holds(side: Vector, value: bool) -> Array:
    """Where a side has that value, and is no error."""
    same = side.values if value else ~np.asarray(side.values, dtype=bool)
    return np.asarray(same & ~np.asarray(side.error, dtype=bool))


def either(*errors: Array | bool) -> Array | bool:
    result: Array | bool = False
    for each in errors:
        result = result | each
    return result


def same_words(name: str, arguments: list[Vector], errors: Array | bool) -> Vector:
    """Two columns of strings, compared for equality: the distinct values of one in the codes of the other."""
    if name not in ("_==_", "_!=_") or any(each.column is None for each in arguments):
        raise Unvectorisable(f"{name.strip('_')} on two strings that vary")
    left, right = arguments
    assert left.column is not None
    assert right.column is not None
    translated = np.array([left.column.codes.get(word, -1) for word in right.column.distinct] or [-1])
    same = left.values == translated[right.values]
    return Vector("bool", same if name == "_==_" else ~same, errors)


def unary(name: str, argument: Vector, kind: str) -> Vector:
    if name == "!_" and kind == "bool":
        return Vector("bool", ~np.asarray(argument.values, dtype=bool), argument.error)
    if name == "-_" and kind in ("int", "double"):
        _bounded(kind, argument.values)
        return Vector(kind, -argument.values, argument.error)
    if name == "double" and kind in ("int", "double"):
        return Vector("double", np.asarray(argument.values, dtype=np.float64), argument.error)
    raise Unvectorisable(f"{name.strip('_')}() is not for columns")


def arithmetic(name: str, kind: str, left: Any, right: Any) -> Any:
    _bounded(kind, left, right)
    if name in COMPUTE:
        return COMPUTE[name](left, right)
    if name not in ("_/_", "_%_") or (name == "_%_" and kind == "double"):
        raise Unvectorisable(f"{name} is not for columns")
    if kind == "double":
        return np.asarray(left) / np.asarray(right)
    if np.any(np.asarray(right) == 0):
        raise Unvectorisable("division by zero")
    left, right = np.asarray(left), np.asarray(right)
    if name == "_/_":
        return np.sign(left) * np.sign(right) * (np.abs(left) // np.abs(right))
    return np.sign(left) * (np.abs(left) % np.abs(right))


def _bounded(kind: str, *operands: Any) -> None:
    arrays = [np.asarray(each) for each in operands]
    if kind == "int" and any(np.any((each >= SAFE_INTEGER) | (each <= -SAFE_INTEGER)) for each in arrays):
        raise Unvectorisable("integers that could leave 64 bits")
