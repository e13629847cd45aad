"""Evaluates an expression over columns: all targets at once. Pure; the engine comes in by two functions handed over.

It answers exactly as the engine does, or raises `Unvectorisable` and leaves the rule to another method. Hence: operands
of one kind only; strings are looked at once per distinct value, by the engine's own functions; integers that could
overflow, or are divided by zero, are left to the engine. An error is a mask beside the values, and `&&` and `||` absorb
it as CEL says: `false && error` is false, `true || error` is true.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from services.policy.evaluation.allowance import Work, column_seconds
from services.policy.evaluation.arrays import (
    COMPARE,
    KINDS,
    Answers,
    Array,
    Failed,
    Unvectorisable,
    Vector,
    arithmetic,
    constant,
    either,
    holds,
    same_words,
    unary,
)
from services.policy.evaluation.columns import Alike, Read, RowNumbers, TargetColumns, Words, reader
from services.policy.evaluation.outcomes import ERROR, FALSE, TRUE, Outcomes
from services.policy.functions import FUNCTIONS, Function, FunctionError
from services.policy.language.syntax import (
    OPERATORS,
    Call,
    Has,
    Listing,
    Literal,
    Macro,
    Name,
    SyntaxNode,
    path_of,
)
from services.policy.language.variables import RECORDS, TARGET, read_target, type_at
from shared.columns import Column
from shared.model.target import Target

ASK_SECONDS = 5e-5
"""What it takes to call a function on one string, roughly."""

WORD_SECONDS = 3e-7
"""What it takes to go through the answers that are there already, for each distinct string, roughly."""

PLAIN_SECONDS = 2e-6
"""The same for one of `PLAIN`."""

PLAIN: dict[str, Callable[..., Any]] = {
    "startsWith": str.startswith, "endsWith": str.endswith, "contains": operator.contains, "size": len,
    "_+_": operator.add, "_<_": operator.lt, "_<=_": operator.le, "_>_": operator.gt, "_>=_": operator.ge,
}  # fmt: skip
"""What Python's strings answer as CEL's do: both are code points, in their order."""

LONGEST_TEXT = 1_000
"""Characters of a constant with which strings are asked one by one."""

PER_WORD = OPERATORS | {
    "size", "contains", "startsWith", "endsWith", "matches", "int", "double", "string", "bool", "lowerAscii",
    "upperAscii", "trim", "charAt", "indexOf", "lastIndexOf", "substring",
}  # fmt: skip
"""What is asked of strings one by one, beside our functions; of others, nobody knows how long they take."""


@dataclass(frozen=True, slots=True)
class Vectoriser:
    """One evaluation: these rows, at this time (seconds since the epoch).

    `constant` evaluates an expression that does not mention `target`; `call` calls a function or operator on plain
    values, as a member or not. Both answer as the engine does, and raise `Failed` where its answer is an error.
    """

    inventory: TargetColumns
    rows: RowNumbers
    now: float
    constant: Callable[[SyntaxNode], Any]
    call: Callable[[str, Sequence[Any], bool], Any]
    work: Work
    varying: dict[int, bool] = field(default_factory=dict)  # by the identity of the node

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
            return constant(node.value, node.kind)
        if not self._varies(node):
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
                return self._call(node, [self.vector(each) for each in node.arguments])
            case Macro():
                raise Unvectorisable(f"{node.name}() looks at each element of a list")
            case _:
                raise Unvectorisable("a list, a map or an index that is not constant")

    def _varies(self, node: SyntaxNode) -> bool:
        """True if the value may differ from target to target."""
        known = self.varying.get(id(node))
        if known is None:
            known = (isinstance(node, Name) and node.name == "target") or any(map(self._varies, node.children()))
            self.varying[id(node)] = known
        return known

    def _fold(self, node: SyntaxNode) -> Vector:
        try:
            return constant(self._value_of(node))
        except Failed:
            return Vector("bool", False, True, constant=True)

    def _value_of(self, node: SyntaxNode) -> Any:
        """What does not depend on the target is evaluated once."""
        return self.constant(node)

    def _path(self, path: tuple[str, ...]) -> Vector:
        kind = type_at(path)
        if kind not in KINDS.values():
            raise Unvectorisable(f"target.{'.'.join(path)} is no single value" if path else "target as a whole")
        column = self._column(path, kind)
        return self._taken(column, kind)

    def _column(self, path: tuple[str, ...], kind: str) -> Column[Target]:
        self._pay_for((kind, path))
        read, volatile = reader(path), TARGET[path[0]].volatile
        if kind == "string":
            return self.inventory.words((kind, path), read, self.now, volatile=volatile, make=Alike)
        return self.inventory.column((kind, path), kind, read, self.now, volatile=volatile)

    def _pay_for(self, key: Any) -> None:
        """A column that is not there yet takes time, and is built only where this rule may take it."""
        known = self.inventory.knows(key, self.now)
        if not known and not self.work.afford(column_seconds(len(self.inventory))):
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
        path = path_of(node.operand)
        if (
            path is not None and len(path) == 3 and type_at(path[1:2]) in RECORDS
        ):  # of a record that is not there, nothing can be asked
            inner = self._column(path[1:], type_at(path[1:]))
            return Vector("bool", ~inner.missing[self.rows], self._absent(path[1])[self.rows])
        if path is not None and len(path) == 2 and type_at(path[1:]) in RECORDS:
            return Vector("bool", ~self._absent(path[1])[self.rows], False)
        found = self.vector(node.operand)
        present = ~found.error if isinstance(found.error, np.ndarray) else not found.error
        return Vector("bool", present, False, constant=isinstance(present, bool))

    def _absent(self, record: str) -> Array:
        """Which targets do not have a record."""
        self._pay_for(("record", record))
        read = TARGET[record].read

        def there(now: float) -> Callable[[Target], bool | None]:
            return lambda target: None if read(target, now) is None else True

        return self.inventory.column(("record", record), "bool", there, self.now).missing

    def _logic(self, node: Call) -> Vector:
        left, right = (self.vector(each) for each in node.arguments)
        if (left.kind, right.kind) != ("bool", "bool"):
            raise Unvectorisable(f"{node.name.strip('_')} on something that is no boolean")
        deciding = node.name == "_||_"  # the value that decides whatever the other side is
        decided = holds(left, deciding) | holds(right, deciding)
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
        if self._varies(container):
            raise Unvectorisable("`in` over a list that depends on the target")
        try:
            value = self._value_of(container)
        except Failed:
            raise Unvectorisable("`in` over an error") from None
        if not isinstance(value, list):
            raise Unvectorisable("`in` over something that is no list")
        return value

    def _among(self, item: Vector, elements: list[Any]) -> Vector:
        if any(KINDS.get(type(each)) != item.kind for each in elements) or item.kind == "bool":
            raise Unvectorisable("`in` over values of different kinds")
        if item.column is not None:
            codes = [code for each in elements if (code := item.column.codes.get(each)) is not None]
            return Vector("bool", np.isin(item.values, codes), item.error)
        if item.constant:
            return Vector("bool", item.values in elements, item.error, constant=True)
        return Vector("bool", np.isin(item.values, elements), item.error)

    def _call(self, node: Call, arguments: list[Vector]) -> Vector:
        name = node.name
        if name not in PER_WORD and name not in FUNCTIONS:
            raise Unvectorisable(f"{name}() is not for columns")
        if name == "matches" and not isinstance(node.arguments[-1], Literal):
            raise Unvectorisable("matches() with a pattern that is no literal")
        if name in FUNCTIONS and FUNCTIONS[name].result.startswith("list<"):
            raise Unvectorisable(f"{name}() gives a list")
        varying = [each for each in arguments if not each.constant]
        errors = either(*(each.error for each in arguments))
        if len(varying) == 1 and varying[0].column is not None:
            return self._per_word(node, arguments, varying[0].column, varying[0].values, errors)
        kinds = {each.kind for each in arguments}
        if len(kinds) != 1:
            raise Unvectorisable(f"{name.strip('_')} on values of different kinds")
        (kind,) = kinds
        if kind == "string":
            return same_words(name, arguments, errors)
        if len(arguments) == 1:
            return unary(name, arguments[0], kind)
        left, right = arguments[0].values, arguments[1].values
        if name in COMPARE and len(arguments) == 2 and (kind != "bool" or name in ("_==_", "_!=_")):
            return Vector("bool", COMPARE[name](left, right), errors)
        if kind in ("int", "double") and len(arguments) == 2:
            return Vector(kind, arithmetic(name, kind, left, right), errors)
        raise Unvectorisable(f"{name} is not for columns")

    def _per_word(
        self, node: Call, arguments: list[Vector], column: Words | Answers, codes: Array, errors: Any
    ) -> Vector:
        """A function of one string and of constants: asked once for each distinct string."""
        name = node.name
        if any(each.constant and each.error is not False for each in arguments):
            return Vector("bool", False, True, constant=True)
        given = tuple(each.values if each.constant else None for each in arguments)
        if any(isinstance(each, str) and len(each) > LONGEST_TEXT for each in given):
            raise Unvectorisable(f"a text of more than {LONGEST_TEXT} characters")
        if name in ("_==_", "_!=_") and all(each.kind == "string" for each in arguments):
            (other,) = (each.values for each in arguments if each.constant)
            same = codes == column.codes.get(other, -1)
            return Vector("bool", same if name == "_==_" else ~same, errors)

        plain = _plain(name, arguments)

        def ask(word: str) -> Any:
            if not self.work.afford(ASK_SECONDS if plain is None else PLAIN_SECONDS, kept=isinstance(column, Words)):
                raise Unvectorisable("asking that of every distinct string would take too long")
            if plain is not None:
                return plain(*(word if not each.constant else each.values for each in arguments))
            try:
                return self.call(name, [word if not each.constant else each.values for each in arguments], node.member)
            except Failed:
                return None

        if not self.work.afford(len(column.distinct) * WORD_SECONDS, kept=False):
            raise Unvectorisable("going through every distinct string that often would take too long")
        # The kinds are part of the key: 1 and 1.0 and true are equal in Python.
        table = column.table((name, given, tuple(map(type, given))), ask)
        known = {type(answer) for answer in table if answer is not None} or {bool}
        if len(known) != 1 or (kind := KINDS.get(known.pop())) is None:
            raise Unvectorisable(f"{name} gives different kinds")
        failed = np.array([answer is None for answer in table] or [True])
        if kind == "string":
            words = Answers.of(table)
            return Vector(kind, words.of_code[codes], failed[codes] | errors, words)
        answers = np.array([answer or 0 for answer in table] or [0])
        if kind == "bool":
            answers = answers.astype(bool)
        return Vector(str(kind), answers[codes], failed[codes] | errors)


def _plain(name: str, arguments: Sequence[Vector]) -> Callable[..., Any] | None:
    """What of Python's answers as CEL's function does on these, or None."""
    if any(each.kind != "string" for each in arguments) or len(arguments) != (1 if name == "size" else 2):
        return None
    return PLAIN.get(name)


def _reads_by(function: Function, given: Sequence[str]) -> Read:
    """Reads a function's answer for a target; an error is none."""
    if function.shortcut is not None:
        answer = function.shortcut(*given)
        return lambda _: answer
    call, fields = function.call, frozenset(function.reads)

    def asked(now: float, target: Target) -> Any:
        try:
            return call(read_target(target, now, fields), *given)
        except FunctionError:
            return None

    return lambda now: partial(asked, now)
