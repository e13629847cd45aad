"""The functions that rules can call beside CEL's own, in one literal table. Each also works as a member of its first
argument: `target.hasLabel("x")`."""

from services.policy.functions.function import Function, FunctionError
from services.policy.functions.labels import HAS_LABEL
from services.policy.functions.latency import LATENCY
from services.policy.functions.lists import LISTS
from services.policy.functions.network import NETWORK
from services.policy.functions.quantities import AS_INTEGER, IS_INTEGER, IS_QUANTITY, QUANTITY, SIGN
from services.policy.functions.regex import REGEX
from services.policy.functions.resources import ALLOCATABLE, AVAILABLE, CAPACITY, REQUESTED, UTILIZATION
from services.policy.functions.semver import IS_SEMVER, MAJOR, MINOR, PATCH, SEMVER
from services.policy.functions.serves import SERVES
from services.policy.functions.workspaces import DISTANCE, IN_WORKSPACE

FUNCTIONS: dict[str, Function] = {
    function.name: function
    for function in (
        # of Moorage
        HAS_LABEL,
        CAPACITY,
        ALLOCATABLE,
        AVAILABLE,
        UTILIZATION,
        REQUESTED,
        IN_WORKSPACE,
        DISTANCE,
        LATENCY,
        SERVES,
        # of Kubernetes
        QUANTITY,
        IS_QUANTITY,
        IS_INTEGER,
        AS_INTEGER,
        SIGN,
        SEMVER,
        IS_SEMVER,
        MAJOR,
        MINOR,
        PATCH,
        *NETWORK,
        *LISTS,
        *REGEX,
    )
}

__all__ = ["FUNCTIONS", "Function", "FunctionError"]
