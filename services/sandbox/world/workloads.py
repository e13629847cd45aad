"""What a cluster would report of its workloads: who finds room, and the status of each kind. It does no I/O."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from services.sandbox.data import load
from services.sandbox.errors import Document
from services.sandbox.objects.envelope import dated
from shared.kube.quantity import parse_quantity

FAIL = "sandbox.moorage.io/fail"
Room = dict[str, float]
K = TypeVar("K")
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


class Need(NamedTuple):
    """What of an object decides how many of its pods run. `turn` is when it finds room; `wanted` is none where each
    node has one, and `each` where there are no pods."""

    turn: tuple[bool, str, str]
    wanted: int | None
    each: Room | None
    failing: bool


def need(item: Document) -> Need:
    """The oldest find room first; pods come before workloads."""
    kind, metadata, spec = item["kind"], item["metadata"], item.get("spec", {})
    template = item if kind == "Pod" else spec.get("template")
    by_kind = {"Pod": 1, "DaemonSet": None, "Job": spec.get("parallelism", 1)}
    return Need(
        turn=(kind != "Pod", metadata["creationTimestamp"], metadata["name"]),
        wanted=by_kind.get(kind, spec.get("replicas", 1)),
        each=None if template is None else requests(template.get("spec") or {}),
        failing=template is not None and "true" in (_annotation(item), _annotation(template)),
    )


def outcomes(needs: Mapping[K, Need], nodes: list[Document]) -> dict[K, Outcome]:
    """How each fares, in the order of their turns."""
    free = allocatable(nodes)
    return {key: _serve(each, free, len(nodes)) for key, each in sorted(needs.items(), key=lambda item: item[1].turn)}


def _serve(asked: Need, free: Room, nodes: int) -> Outcome:
    if asked.each is None:
        return Outcome(1, 1)
    wanted = nodes if asked.wanted is None else asked.wanted
    fits, short = wanted, ""
    for name, amount in asked.each.items():
        count = int((free.get(name, 0.0) + 1e-9) // amount) if amount else wanted
        if count < fits:
            fits, short = max(0, count), name
    for name, amount in asked.each.items():
        free[name] = free.get(name, 0.0) - amount * fits
    if asked.failing:
        return Outcome(wanted, 0, failing=True, why=f"{FAIL} is set")
    why = f"0/{nodes} nodes are available: {nodes} Insufficient {short}." if short else ""
    return Outcome(wanted, fits, why=why)


def _annotation(item: Document) -> str | None:
    return ((item.get("metadata") or {}).get("annotations") or {}).get(FAIL)


def status_of(item: Document, outcome: Outcome, now: str) -> Document:
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
        "completions": spec.get("completions", spec.get("parallelism", 1)),
        "modes": spec.get("accessModes") or [],
        "requested": (spec.get("resources") or {}).get("requests") or {},
        "ingress": [{"ip": address}] if balanced else None,
    }
    states = STATUS[item["kind"]]
    made: Document = _filled(states.get(outcome.state, states["ready"]), facts)
    if "conditions" in made:
        made["conditions"] = dated(item, now, made["conditions"])
    return made


def _filled(template: Any, facts: Document) -> Any:
    if isinstance(template, dict):
        filled = {name: _filled(value, facts) for name, value in template.items()}
        return {name: value for name, value in filled.items() if value is not None}
    if isinstance(template, list):
        return [_filled(value, facts) for value in template]
    return facts.get(template[1:]) if isinstance(template, str) and template.startswith("$") else template
