"""Which buckets there are, what each holds, and which worker alone writes it; a test checks that nobody else does.

All of it can be deleted: Kubernetes objects are the truth, and every owner rebuilds its buckets from them.
"""

from typing import Any

from shared.broker.store import Bucket
from shared.broker.tokens import join
from shared.model.asking import REMEMBERED, LastAsked, RequestEntry
from shared.model.copy import Copy
from shared.model.decision import Reservation
from shared.model.declared import DeclaredKind
from shared.model.policy import PolicyCheck, PolicyEntry
from shared.model.preemption import Victim
from shared.model.quota import WorkspaceQuota
from shared.model.report import TargetReport
from shared.model.request import HeadEntry, Waiting
from shared.model.target import Target, Workspace

_FEW = 16 << 20
"""Bytes of a bucket of a few entries, as those with one for each copy of a worker. What buckets may have, NATS sets
aside."""


INVENTORY = Bucket(
    name="inventory", holds=Target, owner="discovery", tokens=2, description="What is known of each target"
)


WORKSPACES = Bucket(
    name="workspaces", holds=Workspace, owner="discovery", tokens=1, description="The workspaces of the tree"
)


POLICIES = Bucket(
    name="policies", holds=PolicyEntry, owner="controller", tokens=2, description="The PlacementPolicies in force"
)


KINDS = Bucket(name="kinds", holds=DeclaredKind, owner="controller", tokens=2, description="The WorkloadKinds in force")


CHECKS = Bucket(
    name="checks",
    holds=PolicyCheck,
    owner="policy",
    tokens=2,
    description="Whether each policy compiles, and what its rules did",
)


HEADS = Bucket(
    name="heads", holds=HeadEntry, owner="controller", tokens=3, description="The newest head of each placement"
)


WAITING = Bucket(
    name="waiting", holds=Waiting, owner="controller", tokens=3, description="Placements that could not be decided"
)


RESERVATIONS = Bucket(
    name="reservations",
    holds=Reservation,
    owner="decision",
    tokens=5,
    description="What placements take, key <target>.<placement>",
)


RESERVATIONS_COMPLETE = join("rebuilt", "", "", "", "")
"""The key of an entry which says that RESERVATIONS is complete; it goes when the others go."""


VICTIMS = Bucket(
    name="victims",
    holds=Victim,
    max_bytes=128 << 20,  # a quarter of a million that have to leave at once, of half a kilobyte each
    owner="decision",
    tokens=5,
    description="Placements that have to leave a target for others, key <target>.<placement>",
)


QUOTAS = Bucket(
    name="quotas",
    holds=WorkspaceQuota,
    max_bytes=_FEW,
    owner="controller",
    tokens=2,
    description="The PlacementQuotas in force, key <workspace>.<name>",
)


CHARGES = Bucket(
    name="charges",
    holds=Reservation,
    max_bytes=128 << 20,  # a quarter of a million, one for each placement and quota, of half a kilobyte each
    owner="decision",
    tokens=5,
    description="What placements take of quotas, key <quota>.<placement>",
)


REPORTS = Bucket(
    name="reports",
    holds=TargetReport,
    owner="status",
    tokens=4,
    description="Phase and health per placement and target",
)


def _copies(worker: str) -> Bucket[Copy]:
    return Bucket(
        name=f"{worker}-copies",
        holds=Copy,
        max_bytes=_FEW,
        owner=worker,
        tokens=1,
        description=f"The copies of {worker} that are at work",
    )


CONTROLLER_COPIES = _copies("controller")
DISCOVERY_COPIES = _copies("discovery")
POLICY_COPIES = _copies("policy")
SCHEDULER_COPIES = _copies("scheduler")
DECISION_COPIES = _copies("decision")
BINDING_COPIES = _copies("binding")
STATUS_COPIES = _copies("status")
INTAKE_COPIES = _copies("intake")


REQUESTS = Bucket(
    name="requests",
    holds=RequestEntry,
    owner="intake",
    tokens=1,
    description="What was asked on the bus within a day, and how it was answered",
    max_age=REMEMBERED,
)


ASKED = Bucket(
    name="asked",
    holds=LastAsked,
    max_bytes=256 << 20,  # for each of these `requests` has one at least, four times as large
    owner="intake",
    tokens=3,
    description="The last request on the bus about each placement",
    max_age=REMEMBERED,
)


BUCKETS: tuple[Bucket[Any], ...] = (
    INVENTORY,
    WORKSPACES,
    POLICIES,
    KINDS,
    CHECKS,
    HEADS,
    WAITING,
    RESERVATIONS,
    VICTIMS,
    QUOTAS,
    CHARGES,
    REPORTS,
    CONTROLLER_COPIES,
    DISCOVERY_COPIES,
    POLICY_COPIES,
    SCHEDULER_COPIES,
    DECISION_COPIES,
    BINDING_COPIES,
    STATUS_COPIES,
    INTAKE_COPIES,
    REQUESTS,
    ASKED,
)
