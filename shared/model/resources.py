"""Amounts of resources: floats in base units (cores, bytes, pieces), whatever notation they arrived in."""

from typing import Any, TypeVar

Resources = dict[str, float]
Amount = TypeVar("Amount", float, Any)
"""A number, or an array of them."""

TOLERANCE = 1e-9


def with_tolerance(free: Amount) -> Amount:
    """What counts as free: a relative tolerance covers rounding in sums of decimal fractions (0.1 + 0.2), a billionth
    of a core.
    """
    return free * (1 + TOLERANCE) + TOLERANCE


def fits(needed: Resources, free: Resources) -> bool:
    """True if `free` covers `needed`; a resource that `free` does not name is not there. See `with_tolerance`."""
    return all(amount <= with_tolerance(free.get(name, 0.0)) for name, amount in needed.items() if amount > 0)


def add(*parts: Resources) -> Resources:
    """The sum, resource by resource."""
    total: Resources = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total.get(name, 0.0) + amount
    return total


def subtract(whole: Resources, part: Resources) -> Resources:
    """The rest of `whole`; may be negative where more is taken than there is."""
    return {name: whole.get(name, 0.0) - part.get(name, 0.0) for name in {**whole, **part}}


def spoken(name: str, amount: float) -> str:
    """An amount for people: `1.5`, or in binary units what is counted in bytes: `2.5Gi`."""
    if name in ("memory", "ephemeral-storage") or name.startswith("hugepages-"):
        for power, unit in ((30, "Gi"), (20, "Mi"), (10, "Ki")):
            if abs(amount) >= 1 << power:
                return f"{amount / (1 << power):.4g}{unit}"
    return f"{amount:.4g}"
