"""What a cluster would report of its workloads: who finds room, and the status of each kind. Pure."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from services.sandbox.errors import Document
from shared.kube.quantity import parse_quantity

FAIL = "sandbox.moorage.io/fail"
Room = dict[str, float]


class Outcome(NamedTuple):
    """How many of the wanted replicas run; `why` they do not all (empty where they do)."""

    wanted: int
    ready: int
    failing: bool
    why: str
    now: str


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


def settle(objects: Iterable[Document], nodes: list[Document], now: str) -> list[tuple[Document, Document]]:
    """Each object with the status that it should have. The oldest find room first; pods come before workloads."""
    free = allocatable(nodes)
    ordered = sorted(
        objects, key=lambda o: (o["kind"] != "Pod", o["metadata"]["creationTimestamp"], o["metadata"]["name"])
    )
    result = []
    for item in ordered:
        kind = item["kind"]
        outcome = _schedule(item, free, len(nodes), now)
        result.append((item, STATUS[kind](item, outcome)))
    return result


def _schedule(item: Document, free: Room, nodes: int, now: str) -> Outcome:
    spec = item.get("spec", {})
    template = item if item["kind"] == "Pod" else spec.get("template")
    if template is None:
        return Outcome(1, 1, failing=False, why="", now=now)
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
        return Outcome(wanted, 0, failing=True, why=f"{FAIL} is set", now=now)
    why = f"0/{nodes} nodes are available: {nodes} Insufficient {short}." if short else ""
    return Outcome(wanted, fits, failing=False, why=why, now=now)


def _annotation(item: Document) -> str | None:
    return ((item.get("metadata") or {}).get("annotations") or {}).get(FAIL)


def _conditions(item: Document, now: str, *wanted: tuple[str, bool, str, str]) -> list[Document]:
    """Conditions by type, status, reason and message; the transition time changes only with the status."""
    old = {found["type"]: found for found in item.get("status", {}).get("conditions") or ()}
    result = []
    for kind, holds, reason, message in wanted:
        status = "True" if holds else "False"
        before = old.get(kind, {})
        since = before.get("lastTransitionTime", now) if before.get("status") == status else now
        condition = {"type": kind, "status": status, "reason": reason, "message": message}
        result.append({**condition, "lastTransitionTime": since})
    return result


def _rollout(item: Document, outcome: Outcome) -> list[Document]:
    available = outcome.ready >= outcome.wanted
    reason = "MinimumReplicasAvailable" if available else "MinimumReplicasUnavailable"
    wanted = [("Available", available, reason, outcome.why)]
    if outcome.failing:
        wanted.append(("Progressing", False, "ProgressDeadlineExceeded", "the workload has timed out progressing"))
    else:
        reason = "NewReplicaSetAvailable" if available else "ReplicaSetUpdated"
        wanted.append(("Progressing", True, reason, ""))
        if outcome.why:
            wanted.append(("ReplicaFailure", True, "FailedScheduling", outcome.why))
    return _conditions(item, outcome.now, *wanted)


def _deployment(item: Document, outcome: Outcome) -> Document:
    missing = outcome.wanted - outcome.ready
    return {
        "observedGeneration": item["metadata"].get("generation", 1),
        "replicas": outcome.wanted,
        "updatedReplicas": outcome.wanted,
        "readyReplicas": outcome.ready,
        "availableReplicas": outcome.ready,
        **({"unavailableReplicas": missing} if missing else {}),
        "conditions": _rollout(item, outcome),
    }


def _stateful_set(item: Document, outcome: Outcome) -> Document:
    revision = f"{item['metadata']['name']}-{item['metadata'].get('generation', 1)}"
    status = _deployment(item, outcome) | {"currentReplicas": outcome.wanted}
    status.pop("unavailableReplicas", None)
    return {**status, "currentRevision": revision, "updateRevision": revision}


def _daemon_set(item: Document, outcome: Outcome) -> Document:
    return {
        "observedGeneration": item["metadata"].get("generation", 1),
        "desiredNumberScheduled": outcome.wanted,
        "currentNumberScheduled": outcome.wanted,
        "updatedNumberScheduled": outcome.wanted,
        "numberReady": outcome.ready,
        "numberAvailable": outcome.ready,
        "numberMisscheduled": 0,
        "numberUnavailable": outcome.wanted - outcome.ready,
    }


def _job(item: Document, outcome: Outcome) -> Document:
    before = item.get("status", {})
    started = before.get("startTime", outcome.now)
    if outcome.failing:
        failed = _conditions(item, outcome.now, ("Failed", True, "BackoffLimitExceeded", outcome.why))
        return {"startTime": started, "failed": 1, "conditions": failed}
    if outcome.ready < outcome.wanted:
        return {"startTime": started, "active": outcome.ready, "ready": outcome.ready}
    complete = _conditions(item, outcome.now, ("Complete", True, "CompletionsReached", ""))
    done = {"startTime": started, "completionTime": before.get("completionTime", outcome.now)}
    return {**done, "succeeded": item["spec"].get("completions", 1), "conditions": complete}


def _pod(item: Document, outcome: Outcome) -> Document:
    ready = outcome.ready == 1
    scheduled = ready or outcome.failing
    reason = "" if scheduled else "Unschedulable"
    conditions = _conditions(
        item,
        outcome.now,
        ("PodScheduled", scheduled, reason, outcome.why),
        ("Ready", ready, "" if ready else "ContainersNotReady", outcome.why),
    )
    return {"phase": "Running" if ready else "Pending", "conditions": conditions}


def _claim(item: Document, _outcome: Outcome) -> Document:
    spec = item.get("spec", {})
    capacity = (spec.get("resources") or {}).get("requests") or {}
    return {"phase": "Bound", "accessModes": spec.get("accessModes") or [], "capacity": capacity}


def _service(item: Document, _outcome: Outcome) -> Document:
    if item.get("spec", {}).get("type") != "LoadBalancer":
        return {"loadBalancer": {}}
    number = sum(item["metadata"]["uid"].encode()) % 254 + 1
    return {"loadBalancer": {"ingress": [{"ip": f"192.0.2.{number}"}]}}


STATUS: Mapping[str, Callable[[Document, Outcome], Document]] = {
    "Deployment": _deployment,
    "StatefulSet": _stateful_set,
    "DaemonSet": _daemon_set,
    "Job": _job,
    "Pod": _pod,
    "PersistentVolumeClaim": _claim,
    "Service": _service,
}
