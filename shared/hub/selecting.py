"""Objects that a Placement selects. Pure."""

from typing import Final

import msgspec

from shared.api import WorkloadSelector

COMMON: Final = (
    ("v1", "ConfigMap"),
    ("v1", "PersistentVolumeClaim"),
    ("v1", "Secret"),
    ("v1", "Service"),
    ("v1", "ServiceAccount"),
    ("apps/v1", "DaemonSet"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("batch/v1", "CronJob"),
    ("batch/v1", "Job"),
    ("networking.k8s.io/v1", "Ingress"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("policy/v1", "PodDisruptionBudget"),
)
"""API versions and kinds that workers may read on every hub (`moorage-workloads-common`)."""


def of_kinds(selector: WorkloadSelector) -> tuple[WorkloadSelector, ...]:
    """The same for one kind each: one that takes `all` is one for every common kind, of which some may select nothing
    and some may not be served."""
    if not selector.all:
        return (selector,)
    return tuple(
        msgspec.structs.replace(selector, api_version=api_version, kind=kind, all=False) for api_version, kind in COMMON
    )


def nothing(selector: WorkloadSelector, where: str, namespace: str) -> str:
    """One sentence which says that a selector, at a place in the spec, selects nothing."""
    what = "object of a common kind" if selector.all else selector.kind
    return f"{where} selects nothing: no {what} {_wanted(selector)} in namespace {namespace}"


def _wanted(selector: WorkloadSelector) -> str:
    if selector.name is not None:
        return f"named {selector.name}"
    labels = selector.label_selector
    pairs = ", ".join(f"{key}={value}" for key, value in sorted(labels.match_labels.items())) if labels else ""
    return f"with labels {pairs}" if pairs else "that its label selector matches"
