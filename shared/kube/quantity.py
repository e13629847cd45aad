"""Kubernetes quantities (`500m`, `1.5Gi`, `1e3`) as floats in base units: cores, bytes, pods.

Grammar: k8s.io/apimachinery/pkg/api/resource, `Quantity`. A float holds 53 bits, which is exact for bytes up to 8 PiB.
"""

import functools
import math
import re

_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}  # powers of ten
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}  # powers of two
_QUANTITY = re.compile(
    r"([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?[0-9]+))?", re.ASCII
)
_LONGEST = 64  # characters; the largest quantity that a cluster can mean has about 20


class QuantityError(ValueError):
    """The text is no quantity; the message quotes it and says why."""


def parse_quantity(value: str | int | float) -> float:
    """The number that a quantity stands for. Numbers, as YAML may hold them, stand for themselves.

    Raises QuantityError for anything else, and for what is not finite.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _finite(float(value), value)
    if not isinstance(value, str):
        raise QuantityError(f"a quantity is a string or a number, not {type(value).__name__}")
    return _parsed(value)


@functools.lru_cache(maxsize=4096)
def _parsed(value: str) -> float:
    """Of a text; those of a plane are mostly the same few."""
    if len(value) > _LONGEST:
        raise QuantityError(f"{value[:20]!r}... is too long for a quantity ({len(value)} characters)")
    match = _QUANTITY.fullmatch(value)
    if match is None:
        raise QuantityError(f"{value!r} is not a quantity: expected a number with one of n u m k M G T P E Ki to Ei")
    number, suffix, exponent = match.groups()
    if suffix in _BINARY:
        return float(number) * 2.0 ** _BINARY[suffix]
    # Put together as text, so that 0.1m is the float nearest to 0.0001 and not a product of two rounded ones.
    power = exponent or _DECIMAL[suffix or ""]
    return _finite(float(f"{number}e{power}"), value)


def _finite(number: float, given: object) -> float:
    if not math.isfinite(number):
        raise QuantityError(f"{given!r} is out of range for a quantity")
    return number


def format_quantity(amount: float) -> str:
    """An amount as a quantity, to a thousandth: `1500m`, `4`."""
    thousandths = round(amount * 1000)
    return f"{thousandths}m" if thousandths % 1000 else str(thousandths // 1000)
