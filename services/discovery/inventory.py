"""A SyncTarget and what was seen of its cluster: as inventory entry, and as the SyncTarget's status."""

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from services.discovery import strays
from services.discovery.capacity.nodes import Nodes
from services.discovery.health import NOT_PROBED, Health, assess, steady_latency
from shared.api import (
    Condition,
    Latency,
    Quota,
    ServedAPI,
    SyncTarget,
    SyncTargetSpec,
    SyncTargetStatus,
    duration_seconds,
    get_condition,
    set_condition,
)
from shared.hub.quantities import amounts, quantities
from shared.hub.terms import kind_name
from shared.kube.times import rfc3339, seconds
from shared.model.resources import Resources
from shared.model.target import ApiKind, CustomScore, KubeconfigRef, Stray, Target, Terms

NO_NODES = "without a ready node"
NO_CAPACITY = "without known capacity"
NO_APIS = "without discovered APIs"
DUPLICATE_REASON = "DuplicateCluster"
CONDITIONS = ("Ready", "Reachable", "HeartbeatHealthy", "APIsDiscovered", "PodsCounted", "NoStrays")
MOST_APIS = 2048  # that a SyncTarget's status may list, by its schema

_NOTHING_SEEN: dict[str, Any] = {
    "capacity": {},
    "allocatable": {},
    "allocated": {},
    "counted": False,
    "nodes": 0,
    "apis": (),
    "claims": {},
    "strays": (),
    "unused": (),
    "latency": {},
    "kubernetes_version": "",
}
"""All that an entry says of the cluster itself, before anything is known of it."""

_Status = Literal["True", "False", "Unknown"]


class Viewpoint(msgspec.Struct, frozen=True):
    """Where targets are looked at from, and after how many seconds of failure they count as lost."""

    origin: str = "hub"
    lost_after: float = 60.0


class ClusterFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What one look at a cluster found. None: not read this time, or not to be had; then what is stored stands.

    `slow`: reading was cut off, and is due again as if it had been done, so that it does not fill every look.
    """

    health: Health
    nodes: Nodes | None = None
    allocated: Resources | None = None  # requests of what Moorage did not place
    strays: tuple[Stray, ...] | None = None  # what has no reservation there, counted with the pods
    allocated_problem: str = ""  # why these cannot be had at all
    apis: tuple[ApiKind, ...] | None = None
    api_problem: str = ""  # which API groups could not be read, and why
    kubernetes_version: str = ""
    cluster: str | None = None  # the uid of kube-system; empty where that is not to be had
    cluster_problem: str = ""  # why not
    credentials: str = ""  # the version of the Secret by which it was reached; empty where that was not new
    claims: dict[str, str | None] | None = None
    made: frozenset[str] | None = None  # the namespaces that we made
    unused: tuple[str, ...] | None = None  # those of them that nothing is placed in
    slow: bool = False


def target_of(
    workspace: str, found: SyncTarget, seen: ClusterFacts | None, previous: Target | None, viewpoint: Viewpoint
) -> Target:
    """The inventory entry, of the SyncTarget and of what was seen just now (None: only the object changed).

    Only news is put in; the rest stays as `previous` has it. Copies of the worker, each of which looks at its own
    pace, would otherwise overwrite each other's news with what they saw earlier.
    """
    known = previous if previous is not None and previous.uid == found.metadata.uid else None
    spec, status = found.spec, found.status
    counted = known is not None and known.counted and not (seen is not None and seen.allocated_problem)
    base = known or Target(
        workspace=workspace,
        name=found.metadata.name,
        uid=found.metadata.uid,
        reason=NOT_PROBED,
        capacity=amounts(status.capacity),
        allocatable=amounts(status.allocatable),
        nodes=status.nodes,
        duplicate=_was_duplicate(status),
    )
    cost, evict_after = spec.cost, spec.evict_after
    made = found.metadata.creation_timestamp
    target = msgspec.structs.replace(
        base,
        created=_epoch(made) or 0.0,
        labels=found.metadata.labels,
        taints=spec.taints,
        unschedulable=spec.unschedulable,
        evict_after=None if evict_after is None else duration_seconds(evict_after),
        allocated=base.allocated if counted else amounts(status.allocated),
        counted=counted,
        usage=amounts(status.usage),
        latency={measured.from_: measured.milliseconds for measured in status.latency} | base.latency,
        scores={
            score.name: CustomScore(value=score.value, valid_until=_epoch(score.valid_until)) for score in status.scores
        },
        allowed_workspaces=spec.allowed_workspaces,
        quotas=_quotas(spec.quotas),
        cost_per_cpu_hour=None if cost is None else cost.per_cpu_hour,
        cost_per_gib_hour=None if cost is None else cost.per_gib_hour,
        kubeconfig=kubeconfig_of(spec, base),
        agent=spec.agent is not None,
        terms=_terms(spec),
    )
    return target if seen is None else _with(target, seen, viewpoint)


def kubeconfig_of(spec: SyncTargetSpec, known: Target | None = None) -> KubeconfigRef | None:
    """Where the kubeconfig is, or which profile is in its place; in the version that is `known` of it."""
    if (profile := spec.cluster_profile_ref) is not None:
        found = KubeconfigRef(namespace=profile.namespace, name=profile.name, key="", profile=True)
    elif (ref := spec.kubeconfig_secret_ref) is not None:
        found = KubeconfigRef(namespace=ref.namespace, name=ref.name, key=ref.key)
    else:
        return None
    before = known.kubeconfig if known is not None else None
    return before if before is not None and msgspec.structs.replace(before, version="") == found else found


def _terms(spec: SyncTargetSpec) -> Terms:
    return Terms(
        per_workspace=spec.namespaces == "PerWorkspace",
        protected_namespaces=spec.protected_namespaces,
        namespace_labels=spec.namespace_labels,
        allowed_kinds=tuple(kind_name(each.group, each.kind) for each in spec.allowed_kinds),
        adoption=spec.adoption,
    )


def _quotas(given: Iterable[Quota]) -> dict[str, Resources]:
    """Quotas by workspace path. The API server takes one per path; of several, from a file, all hold."""
    found: dict[str, Resources] = {}
    for each in given:
        known = found.setdefault(each.workspace, {})
        known |= {name: min(most, known.get(name, most)) for name, most in amounts(each.hard).items()}
    return found


def _identified(target: Target, seen: ClusterFacts) -> Target:
    """The entry with which cluster it is. What was seen of another one by that name is forgotten."""
    if seen.cluster is None:
        return target
    if seen.cluster and target.cluster and seen.cluster != target.cluster:
        target = msgspec.structs.replace(target, **_NOTHING_SEEN)
    if seen.credentials and target.kubeconfig is not None:
        kubeconfig = msgspec.structs.replace(target.kubeconfig, version=seen.credentials)
        target = msgspec.structs.replace(target, kubeconfig=kubeconfig)
    if seen.cluster != target.cluster:
        duplicate = target.duplicate and not target.cluster  # else it is another cluster by now
        target = msgspec.structs.replace(target, cluster=seen.cluster, duplicate=duplicate)
    return target


def _with(target: Target, seen: ClusterFacts, viewpoint: Viewpoint) -> Target:
    """The entry with what was seen in it."""
    target = _identified(target, seen)
    if seen.nodes is not None:
        target = msgspec.structs.replace(
            target, capacity=seen.nodes.capacity, allocatable=seen.nodes.allocatable, nodes=seen.nodes.count
        )
    if seen.allocated is not None:
        target = msgspec.structs.replace(target, allocated=seen.allocated, counted=True)
    if seen.strays is not None:
        target = msgspec.structs.replace(target, strays=seen.strays)
    if seen.apis is not None:
        target = msgspec.structs.replace(target, apis=seen.apis)
    if seen.claims is not None:
        target = msgspec.structs.replace(target, claims=seen.claims)
    if seen.unused is not None:
        target = msgspec.structs.replace(target, unused=seen.unused)
    health = seen.health
    latency = dict(target.latency)
    told = latency.get(viewpoint.origin, 0.0)
    if health.steady and (health.moved or not told):  # copies measure differently, and must not correct each other
        latency[viewpoint.origin] = steady_latency(told, health.steady)
    target = msgspec.structs.replace(
        target, latency=latency, kubernetes_version=seen.kubernetes_version or target.kubernetes_version
    )
    if health.undecided:
        return target
    judged = assess(target, health, viewpoint.lost_after)
    if judged.ready and (lack := _lack(judged)):
        return msgspec.structs.replace(judged, ready=False, reason=lack)
    return judged


def _lack(target: Target) -> str:
    """What a target that answers still lacks before anything can be placed there; empty when nothing."""
    if not target.apis:
        return NO_APIS
    if any(target.allocatable.values()):
        return ""
    return NO_NODES if target.nodes else NO_CAPACITY


def _was_duplicate(status: SyncTargetStatus) -> bool:
    """Whether it was refused as a duplicate when its status was written; the inventory may have been lost since."""
    ready = get_condition(status.conditions, "Ready")
    return ready is not None and ready.reason == DUPLICATE_REASON


def _epoch(time: str | None) -> float | None:
    return None if time is None else seconds(time)  # what is unreadable has lapsed, so that the score abstains


def status_of(
    found: SyncTarget, target: Target, seen: ClusterFacts, now: float, holder: Target | None = None
) -> SyncTargetStatus:
    """What the SyncTarget's status should say; `holder` is the other one that holds the same cluster.

    `usage` and `scores` are others' and stay out of it. So does `allocated`: where pods cannot be counted it is others'
    as well, and what one field manager has applied once cannot be left out again without being removed.
    """
    return SyncTargetStatus(
        conditions=_conditions(found, target, seen, rfc3339(now, "seconds"), holder),
        capacity=quantities(target.capacity),
        allocatable=quantities(target.allocatable),
        apis=tuple(
            ServedAPI(
                group=api.group,
                resource=api.resource,
                kind=api.kind,
                versions=api.versions,
                preferred_version=api.versions[0],
                namespaced=api.namespaced,
            )
            for api in target.apis[:MOST_APIS]
        ),
        kubernetes_version=target.kubernetes_version,
        cluster_uid=target.cluster,
        nodes=target.nodes,
        latency=tuple(Latency(from_=origin, milliseconds=value) for origin, value in sorted(target.latency.items())),
        last_heartbeat_time=rfc3339(seen.health.answered_at, "seconds") if seen.health.answered_at else None,
    )


def turned_away(found: SyncTarget, why: str, now: float) -> SyncTargetStatus:
    """The status of a SyncTarget that is not looked at."""
    conditions = tuple(condition for condition in found.status.conditions if condition.type in CONDITIONS)
    at, generation = rfc3339(now, "seconds"), found.metadata.generation
    return SyncTargetStatus(
        conditions=set_condition(conditions, "Ready", "False", "TooManyTargets", why, at, generation)
    )


def _ready(target: Target, seen: ClusterFacts, holder: Target | None) -> tuple[str, bool, str, str]:
    """The condition Ready. A SyncTarget of another workspace is not named: its name is not for everybody."""
    if target.duplicate:
        ours = holder is not None and holder.workspace == target.workspace
        other = f"SyncTarget {holder.name}" if ours and holder is not None else "another SyncTarget"
        return "Ready", False, DUPLICATE_REASON, f"offers the same cluster as {other}, which was first"
    if not target.ready and not target.cluster and seen.cluster_problem:
        why = f"its namespace kube-system cannot be read, which says what cluster it is: {seen.cluster_problem}"
        return "Ready", False, "ClusterUnknown", why
    return "Ready", target.ready, "NotReady", target.reason


def _conditions(
    found: SyncTarget, target: Target, seen: ClusterFacts, now: str, holder: Target | None
) -> tuple[Condition, ...]:
    """The judgements are the inventory's, which all copies share; a copy's own look adds the words."""
    health = seen.health
    why = health.detail or health.reason or target.reason
    rows = [
        _ready(target, seen, holder),
        ("Reachable", not target.lost_since and not health.problem, "Unreachable", why),
        ("HeartbeatHealthy", not target.lost_since, "Lost", why),
    ]
    if seen.apis is not None or not target.apis:
        rows.append(("APIsDiscovered", not seen.api_problem, "Incomplete", seen.api_problem))
    if seen.allocated is not None or seen.allocated_problem:
        kept = f"allocated is as reported: {seen.allocated_problem}"
        rows.append(("PodsCounted", not seen.allocated_problem, "NotCountable", kept))
    if seen.strays is not None:
        rows.append((strays.NONE, not target.strays, strays.REASON, strays.sentence(target.strays)))
    conditions = tuple(condition for condition in found.status.conditions if condition.type in CONDITIONS)
    unread = not target.apis and not seen.api_problem
    for type_, holds, no, message in rows:
        if target.reason == NOT_PROBED or (type_ == "APIsDiscovered" and unread):
            tried = f"{NOT_PROBED}: {health.detail}" if health.detail else NOT_PROBED
            finding: tuple[_Status, str, str] = ("Unknown", "NotProbed", tried)
        else:
            finding = ("True", "AsExpected", "") if holds else ("False", no, message)
        conditions = set_condition(conditions, type_, *finding, now, found.metadata.generation)
    return conditions


def worth_writing(found: SyncTarget, wanted: SyncTargetStatus, now: float, heartbeat_interval: float) -> bool:
    """Whether the status that the SyncTarget has differs by more than the time, or its heartbeat is too old."""
    present = found.status
    if _facts(present) != _facts(wanted):
        return True
    beat = _epoch(wanted.last_heartbeat_time)
    if beat is None:
        return False
    written = _epoch(present.last_heartbeat_time)
    return written is None or (beat > written and now - written >= heartbeat_interval)


def _facts(status: SyncTargetStatus) -> object:
    """What counts as news. A condition's message is not: it may quote a port or a time that differs with each try."""
    return (
        {condition.type: (condition.status, condition.reason) for condition in status.conditions},
        amounts(status.capacity),
        amounts(status.allocatable),
        status.apis,
        status.kubernetes_version,
        status.cluster_uid,
        status.nodes,
        {measured.from_: measured.milliseconds for measured in status.latency},
    )
