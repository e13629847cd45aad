"""`quantity`: Kubernetes' notation of amounts as a number."""

import re

from services.policy.functions.function import Function, FunctionError

_QUANTITY = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,3})?", re.ASCII)
_FACTORS = {
    "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60,
}  # fmt: skip
LONGEST = 64


def quantity(text: str) -> float:
    """`500m` is 0.5, `4Gi` is 4294967296.0, `1e3` is 1000.0. Raises `FunctionError` for anything else."""
    found = _QUANTITY.fullmatch(text) if len(text) <= LONGEST else None
    if found is None:
        raise FunctionError("not a Kubernetes quantity")
    number, suffix = found.groups()
    if suffix is None:
        return float(number) + 0.0
    if suffix in _FACTORS:
        # Dividing by a power of ten rounds once; multiplying by its inexact inverse would round twice.
        factor = _FACTORS[suffix]
        return (float(number) / round(1 / factor) if factor < 1 else float(number) * factor) + 0.0
    return float(number + suffix) + 0.0


QUANTITY = Function(
    name="quantity",
    overloads=(("string",),),
    result="double",
    call=quantity,
    description="An amount in Kubernetes' notation as a number in base units",
    example='available(target, "memory") >= quantity("16Gi")',
)
