"""`latency`: how far a target is from an origin."""

from collections.abc import Mapping
from typing import Any

from services.policy.functions.function import Function, FunctionError


def latency(target: Mapping[str, Any], origin: str) -> float:
    """Milliseconds from the origin to the target. Raises `FunctionError` where nobody has measured it."""
    measured = target["latency"]
    if origin not in measured:
        raise FunctionError(f"no latency from {origin}")
    return float(measured[origin])


LATENCY = Function(
    name="latency",
    overloads=(("Target", "string"),),
    result="double",
    call=latency,
    description="Milliseconds from an origin to the target; an error where nobody has measured it",
    example='latency(target, "eu-west-1") < 50.0',
    reads=("latency",),
    key=1,
)
