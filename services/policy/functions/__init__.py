"""The functions that rules can call, in one literal table. Each also works as a member: `target.hasLabel("x")`."""

from services.policy.functions.function import Function, FunctionError
from services.policy.functions.labels import HAS_LABEL
from services.policy.functions.latency import LATENCY
from services.policy.functions.quantities import QUANTITY
from services.policy.functions.resources import ALLOCATABLE, AVAILABLE, CAPACITY, REQUESTED, UTILIZATION
from services.policy.functions.serves import SERVES
from services.policy.functions.workspaces import DISTANCE, IN_WORKSPACE

FUNCTIONS: dict[str, Function] = {
    "hasLabel": HAS_LABEL,
    "capacity": CAPACITY,
    "allocatable": ALLOCATABLE,
    "available": AVAILABLE,
    "utilization": UTILIZATION,
    "requested": REQUESTED,
    "quantity": QUANTITY,
    "inWorkspace": IN_WORKSPACE,
    "distance": DISTANCE,
    "latency": LATENCY,
    "serves": SERVES,
}

__all__ = ["FUNCTIONS", "Function", "FunctionError"]
