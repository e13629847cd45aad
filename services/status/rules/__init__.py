"""Health of one object, after kstatus' rules (https://github.com/kubernetes-sigs/cli-utils/tree/master/pkg/kstatus).

kstatus knows Current, InProgress, Failed and Terminating. Here they are Healthy, Progressing, Unhealthy and
Progressing, and what is current but short of what it should have is Degraded.
"""

from collections.abc import Callable

from services.status.rules.claim import claim
from services.status.rules.declared import declared
from services.status.rules.definition import definition
from services.status.rules.deployment import deployment
from services.status.rules.diagnosis import Diagnosis, Object, condition, holds, mapping, number, said
from services.status.rules.generic import existing, generic
from services.status.rules.jobs import cron_job, job
from services.status.rules.network import service
from services.status.rules.pod import pod
from services.status.rules.sets import daemon_set, replica_set, stateful_set
from shared.hub.kinds import BUILT_IN, HealthRule, Kinds

RULES: dict[HealthRule, Callable[[Object], Diagnosis]] = {
    "claim": claim,
    "cron_job": cron_job,
    "daemon_set": daemon_set,
    "definition": definition,
    "deployment": deployment,
    "existing": existing,
    "generic": generic,
    "job": job,
    "pod": pod,
    "replica_set": replica_set,
    "service": service,
    "stateful_set": stateful_set,
}
"""By the names by which the table of kinds (shared/hub/kinds.py) has them."""

__all__ = ["RULES", "Diagnosis", "health"]


def health(obj: Object, kinds: Kinds = BUILT_IN) -> Diagnosis:
    """Health of any object: first what is true of every kind, then the kind's own rule. `kinds` are those that the
    workspace knows that it is from.
    """
    metadata = mapping(obj, "metadata")
    if metadata.get("deletionTimestamp"):
        return Diagnosis("Progressing", "being deleted")
    observed = mapping(obj, "status").get("observedGeneration")
    if isinstance(observed, int) and observed < number(metadata, "generation"):
        return Diagnosis("Progressing", "its controller has not seen the last change yet")
    if holds(obj, "Stalled"):
        return Diagnosis("Unhealthy", said(condition(obj, "Stalled"), "stalled"))
    if holds(obj, "Reconciling"):
        return Diagnosis("Progressing", said(condition(obj, "Reconciling"), "being reconciled"))
    kind = kinds.of(obj)
    return declared(obj, kind) if kind.declared else RULES[kind.health](obj)
