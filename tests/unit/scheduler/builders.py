"""Builders: a fleet, a request, a decision, with only what a test is about."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np

from services.scheduler.candidates import Candidates
from services.scheduler.core import Outcome, schedule
from services.scheduler.settings import SchedulerSettings
from services.scheduler.snapshot import Snapshot
from shared.api import PlacementSpec
from shared.model.decision import Reservation
from shared.model.refs import Head, PlacementRef
from shared.model.request import Cause, PreviousChoice, Request, WorkloadObject
from shared.model.target import ApiKind, Target

DEPLOYMENT = ApiKind(group="apps", resource="deployments", kind="Deployment", versions=("v1",))
REGION = "topology.kubernetes.io/region"
NOW = 1_000_000.0


def target(name: str, **facts: Any) -> Target:
    """A ready target `root/<name>` with 10 cores, 10 bytes and 100 pods; `region` is short for the label."""
    labels = {**facts.pop("labels", {}), **({REGION: facts.pop("region")} if "region" in facts else {})}
    known: dict[str, Any] = {
        "ready": True,
        "allocatable": {"cpu": 10.0, "memory": 10.0, "pods": 100.0},
        "apis": (DEPLOYMENT,),
    }
    return Target(workspace="root", name=name, labels=labels, **{**known, **facts})


def snapshot_of(targets: Iterable[Target], reservations: Iterable[tuple[str, Reservation]] = ()) -> Snapshot:
    snapshot = Snapshot()
    for each in targets:
        snapshot.put(each)
    for name, reservation in reservations:
        snapshot.reserve(name, reservation)
    return snapshot


def deployment(name: str = "web", replicas: int | None = 1, **requests: float) -> WorkloadObject:
    return WorkloadObject(
        api_version="apps/v1",
        kind="Deployment",
        namespace="shop",
        name=name,
        replicas=replicas,
        requests=requests or {"cpu": 1.0},
    )


def daemonset(name: str = "agent", **requests: float) -> WorkloadObject:
    return WorkloadObject(api_version="apps/v1", kind="DaemonSet", namespace="shop", name=name, requests=requests)


def placement(name: str = "web") -> PlacementRef:
    return PlacementRef(workspace="root:shop", namespace="shop", name=name)


def request(
    spec: dict[str, Any] | None = None,
    *,
    workload: Sequence[WorkloadObject] = (deployment(),),
    previous: Iterable[str | tuple[str, int]] = (),
    name: str = "web",
    **more: Any,
) -> Request:
    """A request whose spec is written as people write it."""
    chosen = tuple(
        PreviousChoice(target=each) if isinstance(each, str) else PreviousChoice(target=each[0], replicas=each[1])
        for each in previous
    )
    return Request(
        placement=placement(name),
        head=Head(uid=f"uid-{name}", generation=1, attempt=1),
        cause=Cause(code="Created"),
        spec=msgspec.convert(spec or {}, PlacementSpec),
        workload=tuple(workload),
        previous=chosen,
        **more,
    )


def asking(replicas: int = 1, **requests: float) -> Request:
    """A request for so many replicas that each request so much."""
    return request(workload=[deployment(replicas=replicas, **requests)])


def candidates_of(asked: Request, targets: Sequence[Target], **settings: Any) -> Candidates:
    """All targets as candidates, as filters and scorers see them."""
    snapshot = snapshot_of(targets)
    rows = np.array([snapshot.rows[each.id] for each in targets])
    return Candidates(asked, snapshot, rows, SchedulerSettings(**settings), NOW)


def decide(asked: Request, targets: Sequence[Target], **more: Any) -> Outcome:
    return schedule(
        asked,
        more.pop("snapshot") if "snapshot" in more else snapshot_of(targets),
        tuple(each.id for each in targets),
        now=NOW,
        settings=more.pop("settings", SchedulerSettings()),
        **more,
    )
