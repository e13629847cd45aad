"""Requests of pods, counted by the rule of Kubernetes' own scheduler."""

from collections.abc import Iterable

from shared.model.resources import Resources, add

_POD_LEVEL = ("cpu", "memory")


def effective_requests(
    containers: Iterable[Resources],
    init: Iterable[tuple[Resources, bool]] = (),
    *,
    pod_level: Resources | None = None,
    overhead: Resources | None = None,
) -> Resources:
    """Amounts that one pod takes: the greater of all that runs together and of any moment of its start; and one pod.

    `init` are the init containers in their order, each with whether it keeps running (restartPolicy Always): such a
    sidecar counts with the containers, and with every init container after it. What the pod asks for as a whole
    (`pod_level`) stands for cpu, memory and huge pages in place of what its containers add up to. The overhead of its
    runtime class comes on top.

    Source: k8s.io/component-helpers/resource, `PodRequests`, without `UseStatusResources`: a resize that is under way
    counts as asked for.
    """
    steady = add(*containers)
    sidecars: Resources = {}
    most: Resources = {}
    for requests, stays in init:
        during = add(sidecars, requests)
        if stays:
            steady, sidecars = add(steady, requests), during
        most = _greatest(most, during)
    total = _greatest(steady, most)
    for name, amount in (pod_level or {}).items():
        if name in _POD_LEVEL or name.startswith("hugepages-"):
            total[name] = amount
    return add(total, overhead or {}, {"pods": 1.0})


def _greatest(left: Resources, right: Resources) -> Resources:
    return {name: max(left.get(name, 0.0), right.get(name, 0.0)) for name in {**left, **right}}
