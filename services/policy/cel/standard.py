"""The engine: cel-expr-python, which evaluates expressions as the CEL specification says. Loaded on first use.

What it is given are texts that render.py wrote. Its environment has no types beyond `now`: an expression that has
passed the type check may still meet values of any kind behind `dyn()`.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from services.policy.cel.calls import Argument, answers, invoke
from services.policy.cel.render import MERGED
from services.policy.functions import FUNCTIONS, Function, FunctionError
from services.policy.language.variables import VARIABLES
from shared.aio.lru import Lru

EXTENSIONS = ("optional", "math", "strings", "bindings", "encoders", "lists", "sets", "regex", "two-var-comprehensions")
"""The engine's own libraries."""

OPERATIONS = 500
"""Operators and functions, by kinds of arguments, that are kept compiled for `operate`."""

Outcome = tuple[Any, str]
"""A value and an empty string, or None and what went wrong."""


class TooDeep(ValueError):
    """The engine does not take an expression, as it is nested too deep or too long; the message says which."""


def library() -> Any:
    """The engine's libraries, as a configuration of an environment."""
    from cel_expr_python import cel

    lines = "".join(f"- name: {name}\n" for name in EXTENSIONS)
    return cel.NewEnvConfigFromYaml(f"name: moorage\nextensions:\n{lines}")


def compile_text(text: str) -> Any:
    """The compiled expression. Raises `TooDeep`."""
    try:
        return _environment().compile(text, disable_check=True)
    except (RuntimeError, ValueError) as error:
        raise TooDeep(_reason(str(error))) from None


def outcome_of(expression: Any, variables: Mapping[str, Any], failed: Mapping[str, str]) -> tuple[str, str]:
    """`t`, `f`, or `e` with what went wrong; a value that is no boolean is an error.

    `failed` says what is wrong with variables that have no value. Raises nothing that an expression can cause.
    """
    try:
        found = expression.eval(None, variables)  # by position: to name it costs as much as a tenth of this
        answer = found.plain_value()
        if answer is True:
            return _TRUE
        if answer is False:
            return _FALSE
        wrong = found.type().name() == "ERROR"
    except Exception as error:  # noqa: BLE001 - to a rule, whatever the engine raises is an error
        return "e", _raised(error, failed)
    return "e", describe(str(answer), failed) if wrong else "the result is not a boolean"


_TRUE, _FALSE = ("t", ""), ("f", "")


TOGETHER = 16
"""Targets that the engine is asked about at once: half the time for each, and little is lost where one is an error."""

WORTHWHILE = 64
"""Targets for which it is worth while to compile an expression once more, on several at once."""

_TARGETS = "__targets"
"""A variable that no rule can name."""


def outcomes_on(
    expression: Any,
    calls: Mapping[str, Argument],
    context: Mapping[str, Any],
    targets: Sequence[Mapping[str, Any]],
    text: str = "",
) -> Iterator[tuple[str, str]]:
    """The outcome on each target, with the calls of the expression made beforehand.

    With the `text` of an expression without calls, the engine is asked about several at once, as long as it has an
    answer on all of them: what is wrong with one is said by asking about it alone.
    """
    told = 0
    if text and not calls and len(targets) >= WORTHWHILE:
        for outcomes in _together(text, context, targets):
            yield from outcomes
            told += len(outcomes)
    variables = dict(context)
    for target in targets[told:]:
        variables["target"] = target
        if calls:
            found, failed = answers(calls, variables)
            yield outcome_of(expression, {**variables, **found}, failed)
        else:
            yield outcome_of(expression, variables, {})


def _together(
    text: str, context: Mapping[str, Any], targets: Sequence[Mapping[str, Any]]
) -> Iterator[list[tuple[str, str]]]:
    """The outcomes on some targets after the other, up to the first of which one is an error or no boolean."""
    try:
        ask, variables = compile_text(f"{_TARGETS}.map(target, {text})").eval, dict(context)
        for at in range(0, len(targets), TOGETHER):
            variables[_TARGETS] = targets[at : at + TOGETHER]
            found = ask(None, variables).plain_value()
            if not isinstance(found, list) or any(type(each) is not bool for each in found):
                return
            yield [_TRUE if each else _FALSE for each in found]
    except Exception:  # noqa: BLE001 - whatever it is, it is said of the target that it is about
        return


def _raised(error: Exception, failed: Mapping[str, str]) -> str:
    return "needs too much memory" if isinstance(error, MemoryError) else describe(str(error), failed)


UNLIKE = ("UINT", "BYTES", "TIMESTAMP", "DURATION")
"""Types whose values look like others in plain Python, or are nothing that columns hold."""


def evaluate(
    expression: Any, variables: Mapping[str, Any], failed: Mapping[str, str], *, plain: bool = False
) -> Outcome:
    """The value of an expression in Python. With `plain`, raises `TypeError` for one that looks like another there."""
    try:
        found = expression.eval(None, variables)
        answer = found.plain_value()
        if answer is True or answer is False:
            return answer, ""
        if found.type().name() == "ERROR":
            return None, describe(str(answer), failed)
        kind = found.type().name()
    except Exception as error:  # noqa: BLE001 - to a rule, whatever the engine raises is an error
        return None, _raised(error, failed)
    if plain and kind.startswith(UNLIKE):
        raise TypeError(kind)
    return answer, ""


def operate(name: str, arguments: Sequence[Any], *, member: bool) -> Outcome:
    """The answer of one operator or function of CEL, on plain values. Raises `TypeError` as `evaluate` does."""
    names = [f"a{number}" for number in range(len(arguments))]
    expression = _operation(name, len(arguments), member)
    return evaluate(expression, dict(zip(names, arguments, strict=True)), {}, plain=True)


_operations: Lru[tuple[str, int, bool], Any] = Lru(OPERATIONS)


def _operation(name: str, count: int, member: bool) -> Any:
    from cel_expr_python import cel

    from services.policy.cel.render import render
    from services.policy.language.syntax import Call, Name

    known = _operations.get((name, count, member))
    if known is None:
        arguments = tuple(Name(1, 1, f"a{number}") for number in range(count))
        variables = {each.name: cel.Type.DYN for each in arguments}
        environment = cel.NewEnv(config=library(), variables=variables)
        known = environment.compile(render(Call(1, 1, name, arguments, member)), disable_check=True)
        _operations.put((name, count, member), known)
    return known


@lru_cache(maxsize=1)
def _environment() -> Any:
    from cel_expr_python import cel

    variables = {name: cel.Type.TIMESTAMP if name == "now" else cel.Type.DYN for name in (*VARIABLES, _TARGETS)}
    functions = [_declared(function) for function in FUNCTIONS.values()]
    lists, map_ = cel.Type.List(cel.Type.DYN), cel.Type.Map(cel.Type.DYN, cel.Type.DYN)
    merged = cel.Overload(f"{MERGED}_1", return_type=map_, parameters=[lists], impl=_merged)
    functions.append(cel.FunctionDecl(MERGED, [merged]))
    return cel.NewEnv(config=library(), variables=variables, functions=functions)


def _declared(function: Function) -> Any:
    """A function in both its forms, for calls whose arguments only the engine knows."""
    from cel_expr_python import cel

    kinds = {
        "string": cel.Type.STRING, "Semver": cel.Type.STRING, "IP": cel.Type.STRING, "CIDR": cel.Type.STRING,
        "double": cel.Type.DOUBLE, "bool": cel.Type.BOOL, "int": cel.Type.INT,
        "Target": cel.Type.Map(cel.Type.DYN, cel.Type.DYN),
    }  # fmt: skip
    forms = {
        tuple(str(kinds.get(each, cel.Type.List(cel.Type.DYN))) for each in over): over for over in function.overloads
    }
    overloads = [
        cel.Overload(
            f"{function.name}_{number}_{'member' if member else 'plain'}",
            return_type=cel.Type.DYN,
            parameters=[kinds.get(each, cel.Type.List(cel.Type.DYN)) for each in overload],
            is_member=member,
            impl=_bound(function.name),
        )
        for number, overload in enumerate(forms.values())
        for member in ((False,) if "." in function.name else (False, True))
    ]
    return cel.FunctionDecl(function.name, overloads)


def _bound(name: str) -> Callable[..., Any]:
    return lambda *arguments: invoke(name, arguments)


def _merged(entries: list[Any]) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for entry in entries:
        if not isinstance(entry, dict) or found.keys() & entry.keys():
            raise FunctionError("a key comes twice, or an entry is no map")
        found |= entry
    return found


_KEY = re.compile(r'Key not found in map : "?(.{0,80}?)"?(?: \[|$)', re.DOTALL)
_MISSING = re.compile(r'No value with name "(\w+)" found in Activation')
_OVERLOAD = re.compile(r"No matching overloads found : (?:\([^)]*\)\.)?([^\s(]+)\(")
_KNOWN = {
    "divide by zero": "division by zero",
    "modulus by zero": "division by zero",
    "Iteration budget exceeded": "too many steps of comprehensions",
    "invalid regular expression": "not a regular expression",
    "overflow": "out of range",
    "out of range": "out of range",
    "Index error": "no such index",
    "index out of bounds": "no such index",
    "conversion failed": "not convertible",
    "cannot convert": "not convertible",
    "recursion": "nested too deep",
}


def describe(text: str, failed: Mapping[str, str]) -> str:
    """The engine's error in a few words: never with other data than names and keys of the expression."""
    if found := _MISSING.search(text):
        name = found.group(1)
        return failed.get(name) or f"no such key: {name!r}"
    if text.startswith("OUT_OF_RANGE: ") and not any(each in text for each in _KNOWN):
        return text.removeprefix("OUT_OF_RANGE: ").partition(" [")[0][:200]  # what a function of ours says
    if found := _KEY.search(text):
        return f"no such key: {found.group(1)!r}"
    if found := _OVERLOAD.search(text):
        return f"no such overload for `{found.group(1)}`"
    return next((said for known, said in _KNOWN.items() if known in text), "no such overload")


def _reason(text: str) -> str:
    return "it is too long" if "codepoint" in text else "it is nested too deep"
