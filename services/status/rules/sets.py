"""StatefulSets, DaemonSets and ReplicaSets: as many ready and up to date as wanted."""

from services.status.rules.diagnosis import Diagnosis, Object, condition, holds, mapping, number, said


def stateful_set(obj: Object) -> Diagnosis:
    """Under OnDelete nothing rolls out by itself; under a partition, only the replicas above it do."""
    spec, status = mapping(obj, "spec"), mapping(obj, "status")
    wanted, ready = number(spec, "replicas", 1), number(status, "readyReplicas")
    ready = min(wanted, ready)
    if ready < wanted:
        return Diagnosis("Progressing", f"{ready} of {wanted} replicas are ready", wanted, ready)
    if mapping(spec, "updateStrategy").get("type") == "OnDelete":
        return Diagnosis("Healthy", "", wanted, ready)
    partition = number(mapping(spec, "updateStrategy", "rollingUpdate"), "partition")
    updated, due = number(status, "updatedReplicas"), max(0, wanted - partition)
    if status.get("currentRevision") != status.get("updateRevision") and updated < due:
        return Diagnosis("Progressing", f"{updated} of {due} replicas are updated", wanted, ready)
    return Diagnosis("Healthy", "", wanted, ready)


def daemon_set(obj: Object) -> Diagnosis:
    """One ready and updated pod on every node that it is meant for."""
    status = mapping(obj, "status")
    if "desiredNumberScheduled" not in status:
        return Diagnosis("Progressing", "its controller has not looked at it yet")
    wanted = number(status, "desiredNumberScheduled")
    ready = min(wanted, number(status, "numberReady"))
    updated, available = number(status, "updatedNumberScheduled"), number(status, "numberAvailable")
    if updated < wanted:
        return Diagnosis("Progressing", f"{updated} of {wanted} nodes are updated", wanted, ready)
    if available < wanted or ready < wanted:
        return Diagnosis("Progressing", f"available on {min(available, ready)} of {wanted} nodes", wanted, ready)
    return Diagnosis("Healthy", "", wanted, ready)


def replica_set(obj: Object) -> Diagnosis:
    """As many available as wanted."""
    status = mapping(obj, "status")
    wanted = number(mapping(obj, "spec"), "replicas", 1)
    ready = min(wanted, number(status, "readyReplicas"))
    if holds(obj, "ReplicaFailure"):
        return Diagnosis("Unhealthy", said(condition(obj, "ReplicaFailure"), "pods cannot be created"), wanted, ready)
    available = number(status, "availableReplicas")
    if available < wanted or ready < wanted:
        return Diagnosis("Progressing", f"{min(available, ready)} of {wanted} replicas are available", wanted, ready)
    return Diagnosis("Healthy", "", wanted, ready)
