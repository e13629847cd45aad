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


def is_quantity(text: str) -> bool:
    """True if `quantity` reads the text."""
    try:
        quantity(text)
    except FunctionError:
        return False
    return True


def is_integer(amount: float) -> bool:
    """True if the amount is a whole number within 64 bits."""
    return amount == amount // 1 and -(2.0**63) <= amount < 2.0**63


def as_integer(amount: float) -> int:
    """The amount as an integer. Raises `FunctionError` where it is none."""
    if not is_integer(amount):
        raise FunctionError("not an integer")
    return int(amount)


def sign(amount: float) -> int:
    """1, 0 or -1."""
    return (amount > 0) - (amount < 0)


QUANTITY = Function(
    name="quantity",
    overloads=(("string",),),
    result="double",
    call=quantity,
    description="An amount in Kubernetes' notation as a number in base units",
    example='available(target, "memory") >= quantity("16Gi")',
)
IS_QUANTITY = Function(
    name="isQuantity",
    overloads=(("string",),),
    result="bool",
    call=is_quantity,
    description="Whether `quantity` reads the text",
    example="isQuantity(placement.labels.disk)",
)
IS_INTEGER = Function(
    name="isInteger",
    overloads=(("double",),),
    result="bool",
    call=is_integer,
    description="Whether an amount is a whole number",
    example='quantity("1500m").isInteger()',
)
AS_INTEGER = Function(
    name="asInteger",
    overloads=(("double",),),
    result="int",
    call=as_integer,
    description="An amount as an integer; an error where it is not a whole number",
    example='quantity("2k").asInteger() == 2000',
)
SIGN = Function(
    name="sign",
    overloads=(("double",),),
    result="int",
    call=sign,
    description="1, 0 or -1",
    example='quantity("-1").sign() == -1',
)
