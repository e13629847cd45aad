"""What a cluster would report of its workloads: who finds room, and the status of each kind. It does no I/O."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from services.sandbox.data import load
from services.sandbox.errors import Document
from services.sandbox.objects.envelope import dated
from shared.kube.quantity import parse_quantity

FAIL = "sandbox.moorage.io/fail"
Room = dict[str, float]
STATUS = load(Path(__file__).with_name("workloads.yaml"))


class Outcome(NamedTuple):
    """How many of the wanted replicas run; `why` they do not all (empty where they do)."""

    wanted: int
    ready: int
    failing: bool = False
    why: str = ""

    @property
    def state(self) -> str:
        return "failing" if self.failing else "short" if self.ready < self.wanted else "ready"


def allocatable(nodes: Iterable[Document]) -> Room:
    """The sum over the nodes that take pods."""
    room: Room = {}
    for node in nodes:
        if not node.get("spec", {}).get("unschedulable"):
            for name, quantity in node.get("status", {}).get("allocatable", {}).items():
                room[name] = room.get(name, 0.0) + parse_quantity(quantity)
    return room


def requests(pod_spec: Document) -> Room:
    """What one pod asks for: the sum of its containers, and the pod itself."""
    total: Room = {"pods": 1.0}
    for container in pod_spec.get("containers") or ():
        for name, quantity in ((container.get("resources") or {}).get("requests") or {}).items():
            total[name] = total.get(name, 0.0) + parse_quantity(quantity)
    return total


def simulate(objects: Iterable[Document], nodes: list[Document], now: str) -> list[tuple[Document, Document]]:
    """Each object with the status that it should have. The oldest find room first; pods come before workloads."""
    free = allocatable(nodes)
    ordered = sorted(
        objects, key=lambda o: (o["kind"] != "Pod", o["metadata"]["creationTimestamp"], o["metadata"]["name"])
    )
    return [(item, _status(item, _schedule(item, free, len(nodes)), now)) for item in ordered]


def _schedule(item: Document, free: Room, nodes: int) -> Outcome:
    spec = item.get("spec", {})
    template = item if item["kind"] == "Pod" else spec.get("template")
    if template is None:
        return Outcome(1, 1)
    by_kind = {"Pod": 1, "DaemonSet": nodes, "Job": spec.get("parallelism", 1)}
    wanted = by_kind.get(item["kind"], spec.get("replicas", 1))
    each = requests(template.get("spec") or {})
    fits, short = wanted, ""
    for name, amount in each.items():
        count = int((free.get(name, 0.0) + 1e-9) // amount) if amount else wanted
        if count < fits:
            fits, short = max(0, count), name
    for name, amount in each.items():
        free[name] = free.get(name, 0.0) - amount * fits
    if any(_annotation(part) == "true" for part in (item, template)):
        return Outcome(wanted, 0, failing=True, why=f"{FAIL} is set")
    why = f"0/{nodes} nodes are available: {nodes} Insufficient {short}." if short else ""
    return Outcome(wanted, fits, why=why)


def _annotation(item: Document) -> str | None:
    return ((item.get("metadata") or {}).get("annotations") or {}).get(FAIL)


def _status(item: Document, outcome: Outcome, now: str) -> Document:
    """The status as the tables have it, with the facts of this object put in."""
    metadata, spec, before = item["metadata"], item.get("spec", {}), item.get("status", {})
    generation, missing = metadata.get("generation", 1), outcome.wanted - outcome.ready
    balanced = spec.get("type") == "LoadBalancer"
    address = f"192.0.2.{sum(metadata['uid'].encode()) % 254 + 1}"
    facts = {
        "generation": generation,
        "wanted": outcome.wanted,
        "ready": outcome.ready,
        "unavailable": missing,
        "missing": missing or None,
        "why": outcome.why,
        "revision": f"{metadata['name']}-{generation}",
        "started": before.get("startTime", now),
        "completed": before.get("completionTime", now),
        "completions": spec.get("completions", 1),
        "modes": spec.get("accessModes") or [],
        "requested": (spec.get("resources") or {}).get("requests") or {},
        "ingress": [{"ip": address}] if balanced else None,
    }
    states = STATUS[item["kind"]]
    status: Document = _filled(states.get(outcome.state, states["ready"]), facts)
    if "conditions" in status:
        status["conditions"] = dated(item, now, status["conditions"])
    return status


def _filled(template: Any, facts: Document) -> Any:
    if isinstance(template, dict):
        filled = {name: _filled(value, facts) for name, value in template.items()}
        return {name: value for name, value in filled.items() if value is not None}
    if isinstance(template, list):
        return [_filled(value, facts) for value in template]
    return facts.get(template[1:]) if isinstance(template, str) and template.startswith("$") else template
