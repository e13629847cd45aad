"""`latency`: how far a target is from an origin."""

from collections.abc import Callable, Mapping
from typing import Any

from services.policy.functions.function import Function, FunctionError
from shared.model.target import Target


def latency(target: Mapping[str, Any], origin: str) -> float:
    """Milliseconds from the origin to the target. Raises `FunctionError` where nobody has measured it."""
    measured = target["latency"]
    if origin not in measured:
        raise FunctionError(f"no latency from {origin}")
    return float(measured[origin])


def _shortcut(origin: str) -> Callable[[Target], float | None]:
    def measured(target: Target) -> float | None:
        found = target.latency.get(origin)
        return None if found is None else float(found) + 0.0

    return measured


LATENCY = Function(
    name="latency",
    overloads=(("Target", "string"),),
    result="double",
    call=latency,
    description="Milliseconds from an origin to the target; an error where nobody has measured it",
    example='latency(target, "eu-west-1") < 50.0',
    reads=("latency",),
    key=1,
    shortcut=_shortcut,
)
