"""Deployments: rolled out, still rolling out, stuck, or short of replicas after they had been rolled out."""

from services.status.rules.diagnosis import Diagnosis, Object, condition, holds, mapping, number, said


def deployment(obj: Object) -> Diagnosis:
    """After kstatus; replicas that were lost after a complete rollout are Degraded rather than in progress."""
    status = mapping(obj, "status")
    wanted = number(mapping(obj, "spec"), "replicas", 1)
    updated, available = number(status, "updatedReplicas"), number(status, "availableReplicas")
    ready = min(wanted, number(status, "readyReplicas"))
    progressing, failure = condition(obj, "Progressing"), condition(obj, "ReplicaFailure")
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        return Diagnosis("Unhealthy", said(progressing, "the rollout is stuck"), wanted, ready)
    if holds(obj, "ReplicaFailure"):
        return Diagnosis("Unhealthy", said(failure, "pods cannot be created"), wanted, ready)
    if updated < wanted:
        return Diagnosis("Progressing", f"{updated} of {wanted} replicas are updated", wanted, ready)
    if (old := number(status, "replicas") - updated) > 0:
        return Diagnosis("Progressing", f"{old} old replicas are being replaced", wanted, ready)
    if available < wanted or ready < wanted:
        message = f"{min(available, ready)} of {wanted} replicas are available"
        if progressing.get("reason") != "NewReplicaSetAvailable":
            return Diagnosis("Progressing", message, wanted, ready)
        return Diagnosis("Degraded" if ready else "Unhealthy", message, wanted, ready)
    return Diagnosis("Healthy", "", wanted, ready)
