"""Evaluates an expression over columns: all targets at once. Pure; celpy comes in by two functions handed over.

It answers exactly as celpy does, or raises `Unvectorisable` and leaves the rule to another method. Hence: operands of
one kind only (celpy's rules for mixed kinds are its own); strings are looked at once per distinct value, by celpy's own
functions; what could overflow, or divide by zero, is left to celpy. An error is a mask beside the values, and
`&&` and `||` absorb it as CEL says: `false && error` is false, `true || error` is true.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from services.policy.evaluation.allowance import Work, column_seconds
from services.policy.evaluation.columns import Read, RowNumbers, TargetColumns, Words, reader
from services.policy.evaluation.outcomes import ERROR, FALSE, TRUE, Outcomes
from services.policy.functions import FUNCTIONS, Function
from services.policy.language.syntax import Call, Has, Listing, Literal, Macro, Name, SyntaxNode, path_of, walk
from services.policy.language.variables import RECORDS, TARGET, read_target
from shared.columns import Column
from shared.model.target import Target

ASK_SECONDS = 3e-6
"""What it takes to call one of celpy's functions on one string, roughly."""

SAFE_INTEGER = 2**31
"""Below this, no product of two integers and no sum of two products leaves 64 bits."""

Array = npt.NDArray[Any]


class Unvectorisable(Exception):
    """This expression, or this data, is not for columns; the message says why."""


class Failed(Exception):
    """celpy's answer is an error."""


@dataclass(frozen=True, slots=True)
class Vector:
    """A value per row. `kind`: bool, int, double or string; strings are indices of the distinct values of `column`.

    A constant has one value, a Python object, in `values`, and `column` None.
    """

    kind: str
    values: Any
    error: Array | bool
    column: Words | None = None
    constant: bool = False


_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "_==_": operator.eq,
    "_!=_": operator.ne,
    "_<_": operator.lt,
    "_<=_": operator.le,
    "_>_": operator.gt,
    "_>=_": operator.ge,
}
_COMPUTE: dict[str, Callable[[Any, Any], Any]] = {"_+_": operator.add, "_-_": operator.sub, "_*_": operator.mul}
_KINDS = {bool: "bool", int: "int", float: "double", str: "string"}


@dataclass(frozen=True, slots=True)
class Vectoriser:
    """One evaluation: these rows, at this time (seconds since the epoch).

    `constant` evaluates an expression that does not mention `target`; `call` calls a function or operator on plain
    values. Both answer as celpy does, and raise `Failed` where its answer is an error.
    """

    inventory: TargetColumns
    rows: RowNumbers
    now: float
    constant: Callable[[SyntaxNode], Any]
    call: Callable[[str, Sequence[Any]], Any]
    work: Work

    def outcomes(self, node: SyntaxNode) -> Outcomes:
        """One outcome per row. Raises `Unvectorisable`."""
        with np.errstate(all="ignore"):
            result = self.vector(node)
        if result.kind != "bool":
            return np.full(len(self.rows), ERROR, dtype=np.uint8)
        decided = np.where(result.values, TRUE, FALSE)
        outcomes = np.where(result.error, ERROR, decided).astype(np.uint8)
        return np.broadcast_to(outcomes, len(self.rows)).copy()

    def vector(self, node: SyntaxNode) -> Vector:
        """The value of a node on every row."""
        if isinstance(node, Literal):
            return _constant(node.value, node.kind)
        if not mentions_target(node):
            return self._fold(node)
        path = path_of(node)
        if path is not None:
            return self._path(path[1:])
        match node:
            case Has():
                return self._has(node)
            case Call(name="_&&_" | "_||_"):
                return self._logic(node)
            case Call(name="_in_"):
                return self._in(*node.arguments)
            case Call(name="_?_:_"):
                return self._choice(*map(self.vector, node.arguments))
            case Call(name="dyn"):
                return self.vector(node.arguments[0])
            case Call(arguments=(Name(name="target"), *_)):
                return self._of_target(node)
            case Call():
                return self._call(node.name, [self.vector(each) for each in node.arguments])
            case Macro():
                raise Unvectorisable(f"{node.name}() looks at each element of a list")
            case _:
                raise Unvectorisable("a list, a map or an index that is not constant")

    def _fold(self, node: SyntaxNode) -> Vector:
        try:
            return _constant(self._value_of(node))
        except Failed:
            return Vector("bool", False, True, constant=True)

    def _value_of(self, node: SyntaxNode) -> Any:
        """What does not depend on the target is evaluated once, by celpy, here and now: hence nothing that may run."""
        if any(isinstance(each, Macro) for each in walk(node)):
            raise Unvectorisable("a comprehension that does not depend on the target")
        return self.constant(node)

    def _path(self, path: tuple[str, ...]) -> Vector:
        kind = type_at(path)
        if kind not in _KINDS.values():
            raise Unvectorisable(f"target.{'.'.join(path)} is no single value" if path else "target as a whole")
        column = self._column(path, kind)
        return self._taken(column, kind)

    def _column(self, path: tuple[str, ...], kind: str) -> Column[Target]:
        self._pay_for((kind, path))
        read, volatile = reader(path), TARGET[path[0]].volatile
        if kind == "string":
            return self.inventory.words((kind, path), read, self.now, volatile=volatile)
        return self.inventory.column((kind, path), kind, read, self.now, volatile=volatile)

    def _pay_for(self, key: Any) -> None:
        """A column that is not there yet takes time, and is built only where this rule may take it."""
        if not self.inventory.knows(key) and not self.work.afford(column_seconds(len(self.inventory))):
            raise Unvectorisable("reading all that from every target would take too long")

    def _taken(self, column: Column[Target], kind: str) -> Vector:
        words = column if isinstance(column, Words) else None
        return Vector(kind, column.values[self.rows], column.missing[self.rows], words)

    def _of_target(self, node: Call) -> Vector:
        """A function of the target and of constants is a column of its own."""
        function = FUNCTIONS.get(node.name)
        arguments = [self.vector(each) for each in node.arguments[1:]]
        if function is None or not all(each.kind == "string" and each.constant for each in arguments):
            raise Unvectorisable(f"{node.name}() with an argument that is not constant")
        if any(each.error is True for each in arguments):
            return Vector("bool", False, True, constant=True)
        given = [each.values for each in arguments]
        if not any(len(overload) == len(given) + 1 for overload in function.overloads):
            raise Unvectorisable(f"{node.name}() with a wrong number of arguments")
        key = ("call", node.name, *given)
        self._pay_for(key)
        column = self.inventory.column(key, function.result, _reads_by(function, given), self.now)
        return self._taken(column, function.result)

    def _has(self, node: Has) -> Vector:
        found = self.vector(node.operand)
        present = ~found.error if isinstance(found.error, np.ndarray) else not found.error
        return Vector("bool", present, False, constant=isinstance(present, bool))

    def _logic(self, node: Call) -> Vector:
        left, right = (self.vector(each) for each in node.arguments)
        if (left.kind, right.kind) != ("bool", "bool"):
            raise Unvectorisable(f"{node.name.strip('_')} on something that is no boolean")
        deciding = node.name == "_||_"  # the value that decides whatever the other side is
        decided = _is(left, deciding) | _is(right, deciding)
        error = (left.error | right.error) & ~decided
        values = decided if deciding else ~decided
        return Vector("bool", values, error)

    def _choice(self, condition: Vector, yes: Vector, no: Vector) -> Vector:
        if condition.kind != "bool" or yes.kind != no.kind or yes.kind == "string":
            raise Unvectorisable("? : over strings or over different kinds")
        values = np.where(condition.values, yes.values, no.values)
        error = np.where(condition.values, yes.error, no.error) | condition.error
        return Vector(yes.kind, values, error)

    def _in(self, item: SyntaxNode, container: SyntaxNode) -> Vector:
        path, sought = path_of(container), self.vector(item)
        if path is None or path[0] != "target":
            return self._among(sought, self._elements(container))
        if not type_at(path[1:]).startswith("map<"):
            raise Unvectorisable("`in` over something of the target that is no map")
        if not sought.constant or sought.kind != "string" or sought.error is not False:
            raise Unvectorisable("`in` with a key that is not constant")
        entry = (*path[1:], sought.values)
        return Vector("bool", ~self._column(entry, type_at(entry)).missing[self.rows], False)

    def _elements(self, container: SyntaxNode) -> list[Any]:
        if isinstance(container, Listing):
            items = [self.vector(each) for each in container.items]
            if not all(each.constant and each.error is False for each in items):
                raise Unvectorisable("`in` over a list that is not constant")
            return [each.values for each in items]
        if mentions_target(container):
            raise Unvectorisable("`in` over a list that depends on the target")
        try:
            value = self._value_of(container)
        except Failed:
            raise Unvectorisable("`in` over an error") from None
        if not isinstance(value, list):
            raise Unvectorisable("`in` over something that is no list")
        return value

    def _among(self, item: Vector, elements: list[Any]) -> Vector:
        if any(_KINDS.get(type(each)) != item.kind for each in elements) or item.kind == "bool":
            raise Unvectorisable("`in` over values of different kinds")
        if item.column is not None:
            codes = [code for each in elements if (code := item.column.codes.get(each)) is not None]
            return Vector("bool", np.isin(item.values, codes), item.error)
        if item.constant:
            return Vector("bool", item.values in elements, item.error, constant=True)
        return Vector("bool", np.isin(item.values, elements), item.error)

    def _call(self, name: str, arguments: list[Vector]) -> Vector:
        varying = [each for each in arguments if not each.constant]
        errors = _either(*(each.error for each in arguments))
        if len(varying) == 1 and varying[0].column is not None:
            return self._per_word(name, arguments, varying[0].column, varying[0].values, errors)
        kinds = {each.kind for each in arguments}
        if len(kinds) != 1:
            raise Unvectorisable(f"{name.strip('_')} on values of different kinds")
        (kind,) = kinds
        if kind == "string":
            return _same_words(name, arguments, errors)
        if len(arguments) == 1:
            return _unary(name, arguments[0], kind)
        left, right = arguments[0].values, arguments[1].values
        if name in _COMPARE and len(arguments) == 2 and (kind != "bool" or name in ("_==_", "_!=_")):
            return Vector("bool", _COMPARE[name](left, right), errors)
        if kind in ("int", "double") and len(arguments) == 2:
            return Vector(kind, _arithmetic(name, kind, left, right), errors)
        raise Unvectorisable(f"{name} is not for columns")

    def _per_word(self, name: str, arguments: list[Vector], column: Words, codes: Array, errors: Any) -> Vector:
        """A function of one string and of constants: asked once for each distinct string."""
        if any(each.constant and each.error is not False for each in arguments):
            return Vector("bool", False, True, constant=True)
        given = tuple(each.values if each.constant else None for each in arguments)
        if name in ("_==_", "_!=_") and all(each.kind == "string" for each in arguments):
            (other,) = (each.values for each in arguments if each.constant)
            same = codes == column.codes.get(other, -1)
            return Vector("bool", same if name == "_==_" else ~same, errors)

        def ask(word: str) -> Any:
            if not self.work.afford(ASK_SECONDS):
                raise Unvectorisable("asking that of every distinct string would take too long")
            try:
                return self.call(name, [word if not each.constant else each.values for each in arguments])
            except Failed:
                return None

        # The kinds are part of the key: 1 and 1.0 and true are equal in Python.
        table = column.table((name, given, tuple(map(type, given))), ask)
        known = {type(answer) for answer in table if answer is not None} or {bool}
        if len(known) != 1 or (kind := _KINDS.get(known.pop())) in (None, "string"):
            raise Unvectorisable(f"{name} gives strings or different kinds")
        failed = np.array([answer is None for answer in table] or [True])
        answers = np.array([answer or 0 for answer in table] or [0])
        if kind == "bool":
            answers = answers.astype(bool)
        return Vector(str(kind), answers[codes], failed[codes] | errors)


def mentions_target(node: SyntaxNode) -> bool:
    """True if the value may differ from target to target."""
    return any(isinstance(each, Name) and each.name == "target" for each in walk(node))


def _reads_by(function: Function, given: Sequence[str]) -> Read:
    """Reads a function's answer for a target."""
    shortcut, call, fields = function.shortcut, function.call, frozenset(function.reads)
    if shortcut is not None:
        return lambda target, _: shortcut(target, *given)
    return lambda target, now: call(read_target(target, now, fields), *given)


def type_at(path: tuple[str, ...]) -> str:
    """The type of a path of `target`, an empty string where it has none that the tables know."""
    if not path or path[0] not in TARGET:
        return ""
    declared = TARGET[path[0]].type
    if len(path) == 1:
        return declared
    if len(path) > 2:
        return ""
    if declared.startswith("map<string, "):
        return declared.removeprefix("map<string, ").removesuffix(">")
    return RECORDS.get(declared, {}).get(path[1], "")


def _constant(value: Any, kind: str | None = None) -> Vector:
    kind = kind or _KINDS.get(type(value))
    if kind not in _KINDS.values():
        raise Unvectorisable("a constant that is no string, number or boolean")
    return Vector(str(kind), value, False, constant=True)


def _is(side: Vector, value: bool) -> Array:
    """Where a side has that value, and is no error."""
    same = side.values if value else ~np.asarray(side.values, dtype=bool)
    return np.asarray(same & ~np.asarray(side.error, dtype=bool))


def _either(*errors: Array | bool) -> Array | bool:
    result: Array | bool = False
    for each in errors:
        result = result | each
    return result


def _same_words(name: str, arguments: list[Vector], errors: Array | bool) -> Vector:
    """Two columns of strings, compared for equality: the distinct values of one in the codes of the other."""
    if name not in ("_==_", "_!=_") or any(each.column is None for each in arguments):
        raise Unvectorisable(f"{name.strip('_')} on two strings that vary")
    left, right = arguments
    assert left.column is not None
    assert right.column is not None
    translated = np.array([left.column.codes.get(word, -1) for word in right.column.distinct] or [-1])
    same = left.values == translated[right.values]
    return Vector("bool", same if name == "_==_" else ~same, errors)


def _unary(name: str, argument: Vector, kind: str) -> Vector:
    if name == "!_" and kind == "bool":
        return Vector("bool", ~np.asarray(argument.values, dtype=bool), argument.error)
    if name == "-_" and kind in ("int", "double"):
        _bounded(kind, argument.values)
        return Vector(kind, -argument.values, argument.error)
    if name == "double" and kind in ("int", "double"):
        return Vector("double", np.asarray(argument.values, dtype=np.float64), argument.error)
    raise Unvectorisable(f"{name.strip('_')}() is not for columns")


def _arithmetic(name: str, kind: str, left: Any, right: Any) -> Any:
    _bounded(kind, left, right)
    if name in _COMPUTE:
        return _COMPUTE[name](left, right)
    if name not in ("_/_", "_%_") or (name == "_%_" and kind == "double"):
        raise Unvectorisable(f"{name} is not for columns")
    if np.any(np.asarray(right) == 0):
        raise Unvectorisable("division by zero")
    if kind == "double":
        return left / right
    left, right = np.asarray(left), np.asarray(right)
    if name == "_/_":
        return np.sign(left) * np.sign(right) * (np.abs(left) // np.abs(right))
    return np.sign(left) * (np.abs(left) % np.abs(right))


def _bounded(kind: str, *operands: Any) -> None:
    arrays = [np.asarray(each) for each in operands]
    if kind == "int" and any(np.any((each >= SAFE_INTEGER) | (each <= -SAFE_INTEGER)) for each in arrays):
        raise Unvectorisable("integers that could leave 64 bits")
