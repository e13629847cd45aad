"""celpy, the reference: parses expressions and evaluates them for one set of variables. Its answers are the right ones.

What celpy lacks is added here, without changing an answer: logical operators whose error does not repeat both sides'
texts (celpy doubles the message per operand), a `duration` that its exponential regular expression cannot stall, our
functions, and messages that never show other data than the names in the expression.
"""

import logging
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import celpy
import re2  # type: ignore[import-untyped]  # google-re2, what celpy matches with, ships no types
from celpy import celtypes
from celpy.celparser import CELParseError, CELParser
from celpy.evaluation import Activation, CELEvalError, Evaluator, base_functions

from services.policy.cel.expand import Tree, bounded
from services.policy.cel.guards import scan
from services.policy.functions import FUNCTIONS, Function, FunctionError
from services.policy.language.diagnostics import Diagnostic, InvalidExpression

logging.getLogger("celpy").setLevel(logging.CRITICAL)  # its debug and error lines hold the variables' values

FRAMES = 5_000
"""Python's recursion limit: enough for the deepest tree that expand.py lets pass."""

sys.setrecursionlimit(max(FRAMES, sys.getrecursionlimit()))

Outcome = tuple[Any, str]
"""A value and an empty string, or None and what went wrong."""


def parse(text: str) -> Tree:
    """celpy's parse tree. Raises `InvalidExpression`, also where the text or the tree exceeds a bound."""
    found = scan(text)
    if found is not None:
        raise InvalidExpression([found])
    try:
        tree: Tree = CELParser().parse(text)
    except CELParseError as error:
        raise InvalidExpression([_syntax(text, error)]) from None
    return bounded(tree)


def _syntax(text: str, error: CELParseError) -> Diagnostic:
    lines = text.split("\n")
    token = getattr(error.__context__, "token", None)
    if error.line is None or error.line < 1 or error.column is None or getattr(token, "type", "") == "$END":
        return Diagnostic(len(lines), len(lines[-1]) + 1, "the expression ends too early")
    rest = lines[error.line - 1][error.column - 1 :].split()
    return Diagnostic(error.line, error.column, f"syntax error near `{rest[0][:40]}`" if rest else "syntax error")


def to_cel(value: Any) -> Any:
    """A plain value as celpy's. Raises `TypeError` for a value that rules cannot hold."""
    match value:
        case bool():
            return celtypes.BoolType(value)
        case str():
            return celtypes.StringType(value)
        case float():
            return celtypes.DoubleType(value)
        case int():
            return celtypes.IntType(value)
        case list() | tuple():
            return celtypes.ListType([to_cel(each) for each in value])
        case Mapping():
            return celtypes.MapType({celtypes.StringType(key): to_cel(each) for key, each in value.items()})
        case datetime():
            return celtypes.TimestampType(value)
        case _:
            raise TypeError(f"{type(value).__name__} is no value of a rule")


def from_cel(value: Any) -> Any:
    """A celpy value as a plain one. Raises `TypeError` for what has no plain counterpart that columns could hold."""
    match value:
        case celtypes.BoolType():
            return bool(value)
        case celtypes.UintType():
            raise TypeError("an unsigned integer")
        case celtypes.StringType():
            return str(value)
        case str():
            raise TypeError("a concatenation, which celpy gives without the methods of a string")
        case int():
            return int(value)
        case float():
            return float(value)
        case celtypes.ListType():
            return [from_cel(each) for each in value]
        case _:
            raise TypeError(f"a {type(value).__name__}")


def call(name: str, arguments: Sequence[Any]) -> Outcome:
    """A function or operator on celpy's values, its errors as in an expression."""
    try:
        value = _BOUND[name](*arguments)
    except (ValueError, TypeError, AttributeError, ArithmeticError, LookupError) as error:
        return None, f"no answer ({type(error).__name__})"
    return (None, describe(value)) if isinstance(value, CELEvalError) else (value, "")


def evaluate(tree: Tree, variables: Mapping[str, Any]) -> Outcome:
    """Evaluate for one set of variables, given as celpy's values. Raises nothing that an expression can cause."""
    try:
        return Evaluator(tree, Activation(functions=_BOUND)).evaluate(dict(variables)), ""
    except CELEvalError as error:
        return None, describe(error)
    except RecursionError:
        return None, "nested too deep"
    except MemoryError:
        return None, "needs too much memory"
    except Exception as error:  # noqa: BLE001 - celpy lets Python's own exceptions through; to a rule, each is an error
        return None, f"cannot be evaluated ({type(error).__name__})"


def outcome_of(tree: Tree, variables: Mapping[str, Any]) -> tuple[str, str]:
    """`t`, `f`, or `e` with what went wrong; a value that is no boolean is an error."""
    value, message = evaluate(tree, variables)
    if message:
        return "e", message
    if isinstance(value, celtypes.BoolType):
        return ("t" if value else "f"), ""
    return "e", "the result is not a boolean"


_OVERLOAD = re.compile(r"found no matching overload for (?:Token\('RULE', '\w+?_(\w+)'\)|'?(_\S+_))")


def describe(error: CELEvalError) -> str:
    """The error in a few words. celpy's own texts hold whole values (and, for a name, all variables)."""
    text = str(error.args[0]) if error.args else ""
    kind = error.args[1] if len(error.args) > 1 else None
    details = error.args[2] if len(error.args) > 2 and isinstance(error.args[2], tuple) else ()
    if isinstance(kind, type) and issubclass(kind, FunctionError) and details:
        return str(details[0])
    if text.startswith("no such member in mapping: ") or (text == "no such key" and details):
        return f"no such key: {str(details[0])[:80]!r}" if details else text[:120].replace("member in mapping", "key")
    if text.startswith("undeclared reference"):
        return "undeclared reference"
    if text in {"modulus or divide by zero", "divide by zero"}:
        return "division by zero"
    if text == "return error for overflow":
        return "out of range, or not convertible"
    overload = _OVERLOAD.match(text)
    return f"no such overload for `{overload.group(1) or overload.group(2)}`" if overload else "no such overload"


def functions() -> dict[str, Callable[..., Any]]:
    """The functions and operators that rules are evaluated with, ours among them, as celpy takes them."""
    return dict(_BOUND)


def _and(left: Any, right: Any) -> Any:
    """As celpy's `&&`, but where both sides are errors the left one is the answer, instead of one that quotes both."""
    if isinstance(left, CELEvalError) and isinstance(right, CELEvalError):
        return left
    return celtypes.logical_and(left, right)


def _or(left: Any, right: Any) -> Any:
    """As celpy's `||`, with the same care."""
    if isinstance(left, CELEvalError) and isinstance(right, CELEvalError):
        return left
    return celtypes.logical_or(left, right)


_DURATION = re.compile(r"[-+]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|ms|s|m|h|d))+")


def _duration(value: Any, *rest: Any) -> Any:
    """As celpy's `duration`, but a text is looked at by a linear expression first."""
    if isinstance(value, str) and not (len(value) <= 64 and _DURATION.fullmatch(value)):
        raise ValueError("not a duration")
    return celtypes.DurationType(value, *rest)


def _matches(text: Any, pattern: Any) -> Any:
    """As celpy's `matches`: RE2, linear in time. But quiet: re2 writes every bad pattern to standard error."""
    try:
        return celtypes.BoolType(_regex(pattern).search(text) is not None)
    except re2.error as error:
        return CELEvalError("match error", error.__class__, error.args)


@lru_cache(maxsize=1_000)
def _regex(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


def is_regex(pattern: str) -> bool:
    """True if `matches` can use the pattern."""
    try:
        _regex(pattern)
    except re2.error:
        return False
    return True


def _timestamp(value: Any, *rest: Any) -> Any:
    """As celpy's `timestamp`, for texts that a time can have."""
    if isinstance(value, str) and len(value) > 64:
        raise ValueError("not a timestamp")
    return celtypes.TimestampType(value, *rest)


def _fits(value: Any, type: str) -> bool:
    match type:
        case "string":
            return isinstance(value, str)
        case "Target":
            return isinstance(value, celtypes.MapType)
        case _:
            return isinstance(value, celtypes.ListType)


def _bind(function: Function) -> Callable[..., Any]:
    """A function as celpy calls it: overloads checked, and no exception but those that celpy turns into errors."""

    def call(*arguments: Any) -> Any:
        if not any(
            len(arguments) == len(overload) and all(map(_fits, arguments, overload)) for overload in function.overloads
        ):
            raise TypeError("no such overload")
        try:
            return to_cel(function.call(*arguments))
        except FunctionError:
            raise
        except Exception as error:
            raise FunctionError(f"{function.name} failed ({type(error).__name__})") from error

    return call


_BOUND: dict[str, Callable[..., Any]] = {
    **base_functions,
    **{name: _bind(function) for name, function in FUNCTIONS.items()},
    "_&&_": _and,
    "_||_": _or,
    "duration": _duration,
    "matches": _matches,
    "timestamp": _timestamp,
}

__all__ = [
    "Outcome",
    "call",
    "celpy",
    "describe",
    "evaluate",
    "from_cel",
    "functions",
    "is_regex",
    "outcome_of",
    "parse",
    "to_cel",
]
