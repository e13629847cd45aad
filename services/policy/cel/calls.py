"""Calls of our functions whose arguments are known before the engine begins: they are made here, once per target.

The engine keeps what it hands to a function of Python for as long as the process lives, and asks for each argument as a
copy. So `hasLabel(target, "x")` is a variable to it, which has the answer; without an answer it has no value, which is
an error where, and only where, the expression needs it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from services.policy.functions import FUNCTIONS, FunctionError
from services.policy.language.syntax import Call, Literal, SyntaxNode, path_of
from services.policy.language.variables import VARIABLES

Argument = tuple[str, Any]
"""`("value", 3)`, `("path", ["target", "name"])`, or `("call", ["semver", [arguments]])`; it travels as MessagePack."""

NAME = "__call"
"""What such variables begin with; rules may not use names like that."""


class Calls:
    """The calls of one expression, by the name of the variable that has the answer."""

    def __init__(self) -> None:
        self.made: dict[str, Argument] = {}
        self.left = False  # whether some have to be made by the engine

    def instead(self, node: SyntaxNode) -> str | None:
        """The variable in place of a call; None for what is no call, or cannot be made before."""
        if not (isinstance(node, Call) and node.name in FUNCTIONS):
            return None
        call = _argument(node)
        if call is None:
            self.left = True
            return None
        for name, known in self.made.items():
            if known == call:
                return name
        name = f"{NAME}{len(self.made)}"
        self.made[name] = call
        return name


def _argument(node: SyntaxNode) -> Argument | None:
    if isinstance(node, Literal) and node.kind != "uint":
        return "value", node.value
    if isinstance(node, Call) and node.name in FUNCTIONS:
        given = [_argument(each) for each in node.arguments]
        return None if None in given else ("call", [node.name, given])
    path = path_of(node)
    return ("path", list(path)) if path is not None and path[0] in VARIABLES else None


def answers(calls: Mapping[str, Argument], variables: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The answers of calls, and what went wrong with the others, both by name."""
    found: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for name, call in calls.items():
        try:
            found[name] = _value(call, variables)
        except FunctionError as error:
            failed[name] = str(error)
    return found, failed


def _value(argument: Argument, variables: Mapping[str, Any]) -> Any:
    kind, given = argument
    if kind == "value":
        return given
    if kind == "call":
        name, arguments = given
        return invoke(name, [_value(each, variables) for each in arguments])
    value: Any = variables
    for step in given:
        if not isinstance(value, Mapping) or step not in value:
            raise FunctionError(f"no such key: {step[:80]!r}")
        value = value[step]
    return value


def invoke(name: str, arguments: Sequence[Any]) -> Any:
    """The answer of one of our functions. Raises `FunctionError`, and nothing else."""
    function = FUNCTIONS[name]
    if not any(
        len(arguments) == len(overload) and all(map(_fits, arguments, overload)) for overload in function.overloads
    ):
        raise FunctionError(f"no such overload for `{name}`")
    try:
        return function.call(*arguments)
    except FunctionError:
        raise
    except Exception as error:  # noqa: BLE001 - to a rule, whatever goes wrong in a function is an error
        raise FunctionError(f"{name} failed ({type(error).__name__})") from None


_PYTHON: dict[str, type | tuple[type, ...]] = {
    "string": str, "double": float, "bool": bool, "int": int, "Target": Mapping,
    "list<dyn>": (list, tuple), "list<string>": (list, tuple), "list<WorkloadObject>": (list, tuple),
    "Semver": str, "IP": str, "CIDR": str, "dyn": object,
}  # fmt: skip


def _fits(value: Any, type: str) -> bool:
    return isinstance(value, _PYTHON[type]) and not (isinstance(value, bool) and type == "int")
