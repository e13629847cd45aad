"""Pods that were placed as such."""

from typing import Any

from services.status.rules.diagnosis import HEALTHY, Diagnosis, Object, condition, holds, mapping, said

_STUCK = frozenset(
    {"CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "InvalidImageName", "CreateContainerConfigError"}
)


def pod(obj: Object) -> Diagnosis:
    """Ready, or done; waiting for something that will not come is Unhealthy."""
    status = mapping(obj, "status")
    ends = mapping(obj, "spec").get("restartPolicy") in ("Never", "OnFailure")  # one that was evicted is placed again
    match status.get("phase"):
        case "Succeeded":
            return Diagnosis("Healthy", "completed", ended="Succeeded" if ends else "")
        case "Failed":
            return Diagnosis("Unhealthy", said(status, "the pod failed"), ended="Failed" if ends else "")
        case "Running" if holds(obj, "Ready"):
            return HEALTHY
    for container in _containers(status):
        waiting = mapping(container, "state", "waiting")
        if waiting.get("reason") in _STUCK:
            return Diagnosis("Unhealthy", f"container {container.get('name')}: {waiting['reason']}")
    scheduled = condition(obj, "PodScheduled")
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        return Diagnosis("Unhealthy", said(scheduled, "no node has room for it"))
    return Diagnosis("Progressing", said(condition(obj, "Ready"), "the pod is starting"))


def _containers(status: dict[str, Any]) -> list[dict[str, Any]]:
    found = [status.get("initContainerStatuses"), status.get("containerStatuses")]
    return [each for part in found if isinstance(part, list) for each in part if isinstance(each, dict)]
