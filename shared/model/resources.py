"""Amounts of resources: floats in base units (cores, bytes, pieces), whatever notation they arrived in."""

Resources = dict[str, float]


TOLERANCE = 1e-9


def fits(needed: Resources, free: Resources) -> bool:
    """True if `free` covers `needed`; a resource that `free` does not name is not there.

    The relative tolerance covers rounding in sums of decimal fractions (0.1 + 0.2), a billionth of a core.
    """
    return all(
        amount <= free.get(name, 0.0) * (1 + TOLERANCE) + TOLERANCE for name, amount in needed.items() if amount > 0
    )


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
