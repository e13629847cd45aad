"""Health of one object, after kstatus' rules (https://github.com/kubernetes-sigs/cli-utils/tree/master/pkg/kstatus).

kstatus knows Current, InProgress, Failed and Terminating. Here they are Healthy, Progressing, Unhealthy and
Progressing, and what is current but short of what it should have is Degraded.
"""

from collections.abc import Callable

from services.status.rules.claim import claim
from services.status.rules.definition import definition
from services.status.rules.deployment import deployment
from services.status.rules.finding import Finding, Object, condition, holds, mapping, number, said
from services.status.rules.generic import existing, generic
from services.status.rules.jobs import cron_job, job
from services.status.rules.network import service
from services.status.rules.pod import pod
from services.status.rules.sets import daemon_set, replica_set, stateful_set

KINDS: dict[tuple[str, str], Callable[[Object], Finding]] = {
    ("", "ConfigMap"): existing,
    ("", "PersistentVolumeClaim"): claim,
    ("", "Pod"): pod,
    ("", "Secret"): existing,
    ("", "Service"): service,
    ("", "ServiceAccount"): existing,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): definition,
    ("apps", "DaemonSet"): daemon_set,
    ("apps", "Deployment"): deployment,
    ("apps", "ReplicaSet"): replica_set,
    ("apps", "StatefulSet"): stateful_set,
    ("batch", "CronJob"): cron_job,
    ("batch", "Job"): job,
    ("networking.k8s.io", "Ingress"): existing,
    ("policy", "PodDisruptionBudget"): existing,
}

__all__ = ["KINDS", "Finding", "health"]


def health(obj: Object) -> Finding:
    """Health of any object: first what is true of every kind, then the kind's own rule."""
    metadata = mapping(obj, "metadata")
    if metadata.get("deletionTimestamp"):
        return Finding("Progressing", "being deleted")
    observed = mapping(obj, "status").get("observedGeneration")
    if isinstance(observed, int) and observed < number(metadata, "generation"):
        return Finding("Progressing", "its controller has not seen the last change yet")
    if holds(obj, "Stalled"):
        return Finding("Unhealthy", said(condition(obj, "Stalled"), "stalled"))
    if holds(obj, "Reconciling"):
        return Finding("Progressing", said(condition(obj, "Reconciling"), "being reconciled"))
    group, _, _ = str(obj.get("apiVersion", "")).rpartition("/")
    return KINDS.get((group, str(obj.get("kind", ""))), generic)(obj)
