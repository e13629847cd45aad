"""Target clusters as data: their size, what others run there, which APIs they lack."""

import msgspec

from services.sandbox.errors import Document
from services.sandbox.plane import ControlPlane
from shared.kube.quantity import parse_quantity


class Target(msgspec.Struct):
    """A target cluster. `capacity` is of all its nodes, `allocated` what others run there; `lacks` names APIs that it
    does not serve, such as `batch/v1`."""

    name: str
    labels: dict[str, str] = {}
    nodes: int = 3
    capacity: dict[str, str] = msgspec.field(default_factory=lambda: {"cpu": "12", "memory": "48Gi", "pods": "330"})
    allocated: dict[str, str] = {}
    lacks: list[str] = []
    token: str = ""


def add(plane: ControlPlane, target: Target) -> str:
    """Make the cluster with its nodes; returns its administrator's token.

    Raises ApiError 409 if the name is taken, and ValueError for a capacity that is none.
    """
    if target.nodes < 0:
        raise ValueError("nodes must be 0 or more")
    room = _share(target.capacity, target.nodes) if target.nodes else {}
    cluster, token = plane.add_target(target.name, lacks=tuple(target.lacks), token=target.token)
    for number in range(target.nodes):
        plane.create(cluster.name, "v1", "nodes", _node(target, number, room))
    if target.allocated:
        plane.create(cluster.name, "v1", "pods", _others(target))
    return token


def _share(total: dict[str, str], parts: int) -> dict[str, str]:
    """An equal part of each quantity: cpu in thousandths, anything else in whole units."""
    units = {name: parse_quantity(value) / parts for name, value in total.items()}
    return {name: f"{int(each * 1000)}m" if name == "cpu" else str(int(each)) for name, each in units.items()}


def _node(target: Target, number: int, room: dict[str, str]) -> Document:
    return {
        "metadata": {"name": f"{target.name}-{number}", "labels": target.labels},
        "status": {
            "capacity": room,
            "allocatable": room,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
            "nodeInfo": {"kubeletVersion": "v1.36.0"},
        },
    }


def _others(target: Target) -> Document:
    """One pod that stands for all that others run in the cluster."""
    requests = {name: str(value) for name, value in target.allocated.items() if name != "pods"}
    container = {"name": "others", "image": "others", "resources": {"requests": requests}}
    metadata = {"name": "others", "namespace": "kube-system"}
    return {"metadata": metadata, "spec": {"containers": [container], "nodeName": f"{target.name}-0"}}
