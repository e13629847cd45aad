"""Which buckets there are, what each holds, and which worker alone writes it; a test checks that nobody else does.

All of it can be deleted: Kubernetes objects are the truth, and every owner rebuilds its buckets from them.
"""

from typing import Any

from shared.broker.store import Bucket
from shared.model.decision import Reservation
from shared.model.policy import PolicyCheck, PolicyEntry
from shared.model.report import TargetReport
from shared.model.request import HeadEntry, Waiting
from shared.model.target import Target, Workspace

INVENTORY = Bucket(name="inventory", holds=Target, owner="discovery", description="What is known of each target")


WORKSPACES = Bucket(name="workspaces", holds=Workspace, owner="discovery", description="The workspaces of the tree")


POLICIES = Bucket(name="policies", holds=PolicyEntry, owner="controller", description="The PlacementPolicies in force")


CHECKS = Bucket(
    name="checks", holds=PolicyCheck, owner="policy", description="Whether each policy compiles, and what its rules did"
)


HEADS = Bucket(name="heads", holds=HeadEntry, owner="controller", description="The newest head of each placement")


WAITING = Bucket(name="waiting", holds=Waiting, owner="controller", description="Placements that could not be decided")


RESERVATIONS = Bucket(
    name="reservations",
    holds=Reservation,
    owner="decision",
    description="What placements take, key <target>.<placement>",
)


REPORTS = Bucket(
    name="reports", holds=TargetReport, owner="status", description="Phase and health per placement and target"
)


BUCKETS: tuple[Bucket[Any], ...] = (INVENTORY, WORKSPACES, POLICIES, CHECKS, HEADS, WAITING, RESERVATIONS, REPORTS)
