"""The nodes of a cluster: which can be used, and what these have together."""

from collections.abc import Iterable

import msgspec

from shared.api import Quantity
from shared.hub.quantities import LARGEST, MOST_RESOURCES, amounts
from shared.model.resources import Resources

CONTROL_PLANE = frozenset({"node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"})


class _NodeTaint(msgspec.Struct):
    key: str = ""
    effect: str = ""


class _NodeSpec(msgspec.Struct):
    unschedulable: bool = False
    taints: tuple[_NodeTaint, ...] | None = None


class _NodeCondition(msgspec.Struct):
    type: str = ""
    status: str = ""


class _NodeStatus(msgspec.Struct):
    capacity: dict[str, Quantity] | None = None
    allocatable: dict[str, Quantity] | None = None
    conditions: tuple[_NodeCondition, ...] | None = None


class _NodeMeta(msgspec.Struct):
    name: str = ""


class Node(msgspec.Struct):
    """The few fields of a Node that matter here."""

    metadata: _NodeMeta = msgspec.field(default_factory=_NodeMeta)
    spec: _NodeSpec = msgspec.field(default_factory=_NodeSpec)
    status: _NodeStatus = msgspec.field(default_factory=_NodeStatus)

    @property
    def usable(self) -> bool:
        """True if ordinary workloads can be scheduled there: ready, not cordoned, not the control plane's."""
        ready = any(known.type == "Ready" and known.status == "True" for known in self.status.conditions or ())
        reserved = any(
            taint.key in CONTROL_PLANE and taint.effect in {"NoSchedule", "NoExecute"}
            for taint in self.spec.taints or ()
        )
        return ready and not self.spec.unschedulable and not reserved


class Nodes(msgspec.Struct, frozen=True):
    """A cluster's nodes together: how many there are, which of them can be used, and what those have."""

    count: int
    usable: frozenset[str]
    capacity: Resources
    allocatable: Resources


def sum_nodes(nodes: Iterable[Node]) -> Nodes:
    """All nodes counted, the usable ones added up."""
    count = 0
    usable: set[str] = set()
    capacity: Resources = {}
    allocatable: Resources = {}
    for node in nodes:
        count += 1
        if not node.usable:
            continue
        usable.add(node.metadata.name)
        for total, part in ((capacity, node.status.capacity), (allocatable, node.status.allocatable)):
            for name, amount in amounts(part or {}).items():
                if name in total or len(total) < MOST_RESOURCES:
                    total[name] = min(LARGEST, total.get(name, 0.0) + amount)
    return Nodes(count, frozenset(usable), capacity, allocatable)
