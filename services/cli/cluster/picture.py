"""Clusters as people and scripts are shown them. Pure: SyncTargets and bindings in, rows and JSON out."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from services.cli.cluster.facts import Occupant, readiness
from services.cli.support.output import amount
from shared.api import SyncTarget, Taint, get_condition
from shared.broker.tunnel.subjects import tunnel_id
from shared.hub.names import DRAIN_TAINT
from shared.kube.quantity import parse_quantity
from shared.kube.times import seconds
from shared.model.refs import TargetRef
from shared.model.resources import Resources, add, subtract

SHOWN = ("cpu", "memory", "pods")
"""Resources that a table has, in this order."""

_AGES = ((86_400, "d"), (3_600, "h"), (60, "m"))


class ClusterRow(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One cluster. `free` is what is allocatable and neither used by others nor reserved by the placements in sight."""

    name: str
    workspace: str
    ready: bool
    message: str
    scheduling: str  # Enabled, Cordoned or Draining
    placements: int
    allocatable: Resources
    free: Resources
    taints: list[str]
    labels: dict[str, str]
    kubernetes_version: str
    cluster_uid: str
    created: str
    tunnel: str = ""  # that of its agent; empty where workers connect to it


def scheduling(target: SyncTarget) -> str:
    """Whether anything new is placed there."""
    if any(taint.key == DRAIN_TAINT for taint in target.spec.taints):
        return "Draining"
    return "Cordoned" if target.spec.unschedulable else "Enabled"


def row(workspace: str, target: SyncTarget, placed: Iterable[Occupant]) -> ClusterRow:
    """A cluster with what is placed there."""
    status, here = target.status, list(placed)
    allocatable = _amounts(status.allocatable or status.capacity)
    taken = add(_amounts(status.allocated), *(each.binding.spec.reserved for each in here))
    ready, why = readiness(target)
    return ClusterRow(
        name=target.metadata.name,
        workspace=workspace,
        ready=ready,
        message=why,
        scheduling=scheduling(target),
        placements=len({each.placement for each in here}),
        allocatable=allocatable,
        free={name: max(0.0, amount) for name, amount in subtract(allocatable, taken).items() if name in allocatable},
        taints=[taint_text(each) for each in target.spec.taints],
        labels=dict(target.metadata.labels),
        kubernetes_version=status.kubernetes_version,
        cluster_uid=status.cluster_uid,
        created=target.metadata.creation_timestamp or "",
        tunnel=tunnel_id(workspace, target.metadata.name, target.metadata.uid) if target.spec.agent is not None else "",
    )


def agent(target: SyncTarget) -> str:
    """Whether the agent of a target answers, as discovery found."""
    found = get_condition(target.status.conditions, "Reachable")
    if found is None:
        return "nobody has looked for it yet"
    return "answers" if found.status == "True" else found.message or found.reason


def table(rows: Sequence[ClusterRow], now: float, *, workspaces: bool) -> list[list[str]]:
    """Rows for people, with a heading."""
    heading = ["NAME", "READY", "SCHEDULING", "PLACEMENTS", "FREE", "TAINTS", "AGE"]
    found = [heading]
    for each in rows:
        name = TargetRef.of(each).id if workspaces and each.workspace else each.name
        ready = "True" if each.ready else "False"
        free = ", ".join(f"{amount(one, each.free[one])} {one}" for one in SHOWN if one in each.free) or "-"
        taints = ", ".join(each.taints) or "-"
        found.append([name, ready, each.scheduling, str(each.placements), free, taints, age(each.created, now)])
    return found


def placement_rows(placed: Iterable[Occupant]) -> list[list[str]]:
    """What runs in a cluster, for people."""
    found = [["WORKSPACE", "PLACEMENT", "PHASE", "REPLICAS", "RESERVED"]]
    for ref, _, binding in placed:
        replicas = "-" if binding.spec.replicas is None else str(binding.spec.replicas)
        reserved = (
            ", ".join(f"{amount(one, value)} {one}" for one, value in sorted(binding.spec.reserved.items())) or "-"
        )
        found.append([ref.workspace or "-", f"{ref.namespace}/{ref.name}", binding.status.phase, replicas, reserved])
    return found


def placement_json(placed: Iterable[Occupant]) -> list[dict[str, Any]]:
    """What runs in a cluster, for scripts; reserved amounts in base units."""
    return [
        {
            "workspace": ref.workspace,
            "namespace": ref.namespace,
            "name": ref.name,
            "phase": binding.status.phase,
            "replicas": binding.spec.replicas,
            "reserved": dict(binding.spec.reserved),
        }
        for ref, _, binding in placed
    ]


def taint_text(taint: Taint) -> str:
    """A taint as kubectl writes it: key=value:effect."""
    return f"{taint.key}={taint.value}:{taint.effect}" if taint.value else f"{taint.key}:{taint.effect}"


def age(created: str, now: float) -> str:
    """How long ago, in one unit, as kubectl has it."""
    if not created:
        return "-"
    gone = max(0.0, now - seconds(created))
    return next((f"{int(gone // size)}{unit}" for size, unit in _AGES if gone >= size), f"{int(gone)}s")


def _amounts(quantities: Mapping[str, str | int]) -> Resources:
    return {name: parse_quantity(text) for name, text in quantities.items()}
