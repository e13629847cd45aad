"""Kubernetes quantities of servers that are not trusted, as floats in base units, and back."""

from collections.abc import Mapping

from shared.api import Quantity
from shared.kube.quantity import format_quantity, parse_quantity
from shared.model.resources import Resources

MOST_RESOURCES = 64  # kinds of resources that are added up of one cluster: a node has about ten
LARGEST = 2.0**63  # no Kubernetes quantity is larger; its own type caps what is


def amounts(quantities: Mapping[str, str | int]) -> Resources:
    """Quantities as floats in base units.

    What is no quantity, or negative, counts as absent: it is somebody else's mistake. What is larger than Kubernetes
    has them is capped, as Kubernetes' own type does, so that no sum leaves the range of numbers that JSON has.
    """
    found: Resources = {}
    for name, quantity in quantities.items():
        try:
            amount = parse_quantity(quantity)
        except ValueError:
            continue
        if amount >= 0.0:
            found[name] = min(amount, LARGEST)
    return found


def quantities(resources: Resources) -> dict[str, Quantity]:
    """Amounts as quantities, exact to a thousandth."""
    return {name: format_quantity(amount) for name, amount in sorted(resources.items())}
