"""`capacity`, `allocatable`, `available`, `utilization`, `requested`: amounts, as doubles in base units."""

from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any

from services.policy.functions.function import Function, FunctionError
from shared.model.target import Target

_TARGET_AND_NAME = (("Target", "string"),)


def capacity(target: Mapping[str, Any], resource: str) -> float:
    """The capacity of the target's nodes in the resource; 0 where it has none."""
    return _of(target["capacity"], resource)


def allocatable(target: Mapping[str, Any], resource: str) -> float:
    """The part of the resource that workloads may request; 0 where there is none."""
    return _of(target["allocatable"], resource)


def available(target: Mapping[str, Any], resource: str) -> float:
    """Allocatable less what others than Moorage have requested, at least 0."""
    return _of(target["available"], resource)


def utilization(target: Mapping[str, Any], resource: str) -> float:
    """Observed use over allocatable, 0 to 1; requests instead of use where no metrics are served.

    Raises `FunctionError` where the target has nothing of the resource.
    """
    whole = _of(target["allocatable"], resource)
    if not whole > 0.0:
        raise FunctionError(f"no allocatable {resource}")
    used = target["usage"] if resource in target["usage"] else target["allocated"]
    return min(1.0, max(0.0, _of(used, resource) / whole))


def _utilization(resource: str) -> Callable[[Target], float | None]:
    def utilized(target: Target) -> float | None:
        whole = float(target.allocatable.get(resource, 0.0))
        if not whole > 0.0:
            return None
        used = target.usage if resource in target.usage else target.allocated
        part = (float(used.get(resource, 0.0)) + 0.0) / whole
        return 1.0 if part > 1.0 else max(0.0, part)

    return utilized


def requested(workload: Iterable[Mapping[str, Any]], resource: str) -> float:
    """The workload's request for the resource: per object, its request times its replicas (1 where it has none)."""
    return sum((_of(each["requests"], resource) * float(each.get("replicas", 1)) for each in workload), 0.0)


def _of(amounts: Mapping[str, Any], resource: str) -> float:
    return float(amounts[resource]) + 0.0 if resource in amounts else 0.0


def _available(resource: str) -> Callable[[Target], float]:
    def free(target: Target) -> float:
        whole = target.allocatable.get(resource)
        return 0.0 if whole is None else max(0.0, float(whole) - float(target.allocated.get(resource, 0.0)))

    return free


def _amount(of: Callable[[Target], Mapping[str, float]]) -> Callable[[str], Callable[[Target], float]]:
    """Reads an amount of some resource, as `_of` has it."""
    return lambda resource: lambda target: float(of(target).get(resource, 0.0)) + 0.0


CAPACITY = Function(
    name="capacity",
    overloads=_TARGET_AND_NAME,
    result="double",
    call=capacity,
    description="What the target's nodes have of a resource; 0.0 where it has none",
    example='capacity(target, "nvidia.com/gpu") >= 4.0',
    reads=("capacity",),
    key=1,
    shortcut=_amount(attrgetter("capacity")),
)
ALLOCATABLE = Function(
    name="allocatable",
    overloads=_TARGET_AND_NAME,
    result="double",
    call=allocatable,
    description="What workloads may request of a resource there; 0.0 where there is none",
    example='target.allocatable("memory") >= quantity("64Gi")',
    reads=("allocatable",),
    key=1,
    shortcut=_amount(attrgetter("allocatable")),
)
AVAILABLE = Function(
    name="available",
    overloads=_TARGET_AND_NAME,
    result="double",
    call=available,
    description="Allocatable less what others than Moorage have requested, at least 0.0",
    example='target.available("cpu") > 2.0 * requested("cpu")',
    reads=("available",),
    key=1,
    shortcut=_available,
)
UTILIZATION = Function(
    name="utilization",
    overloads=_TARGET_AND_NAME,
    result="double",
    call=utilization,
    description="Observed use over allocatable, 0.0 to 1.0 (requests where no metrics are served); "
    "an error where the target has nothing of the resource",
    example='utilization(target, "cpu") < 0.8',
    reads=("allocatable", "allocated", "usage"),
    key=1,
    shortcut=_utilization,
)
REQUESTED = Function(
    name="requested",
    overloads=(("list<WorkloadObject>", "string"),),
    result="double",
    call=requested,
    description="What the whole workload asks for of a resource, replicas counted in",
    example='requested("cpu") <= 16.0',
    implicit="workload",
)
