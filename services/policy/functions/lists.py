"""Kubernetes' functions of lists that CEL's own library lacks."""

from collections.abc import Sequence
from typing import Any

from services.policy.functions.function import Function, FunctionError

_LIST, _ONE = (("list<dyn>",),), (("list<dyn>", "dyn"),)


def _ordered(items: Sequence[Any]) -> Sequence[Any]:
    """The items. Raises `FunctionError` unless all are of one kind that has an order."""
    kinds = {type(each) for each in items}
    if len(kinds) > 1 or not kinds <= {int, float, str, bool}:
        raise FunctionError("not a list of comparable values")
    return items


def _total(items: Sequence[Any]) -> Any:
    if any(isinstance(each, bool | str) for each in _ordered(items)):
        raise FunctionError("not a list of numbers")
    total = sum(items)
    if isinstance(total, int) and not -(2**63) <= total < 2**63:
        raise FunctionError("out of range")
    return total


def _extreme(pick: Any) -> Any:
    def extreme(items: Sequence[Any]) -> Any:
        if not items:
            raise FunctionError("an empty list has neither least nor greatest")
        return pick(_ordered(items))

    return extreme


def _sorted(items: Sequence[Any]) -> bool:
    return all(one <= other for one, other in zip(_ordered(items), items[1:], strict=False))


LISTS = (
    Function("isSorted", _LIST, "bool", _sorted, "Whether each element is at most the next", "[1, 2].isSorted()"),
    Function("sum", _LIST, "dyn", _total, "The sum of numbers of one kind; 0 of none", "[1, 2].sum() == 3"),
    Function("min", _LIST, "dyn", _extreme(min), "The least element", "[1, 2].min() == 1"),
    Function("max", _LIST, "dyn", _extreme(max), "The greatest element", "[1, 2].max() == 2"),
)
