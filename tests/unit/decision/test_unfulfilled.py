"""What a ClusterRequest says, and when it is wanted no more."""

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.decision import core
from services.decision.unfulfilled import attempt_of, cluster_request, requested_since, still_wanted, uid_of
from shared.api import (
    MOST_REFUSED,
    ClusterRequest,
    ObjectMeta,
    OwnerReference,
    Placement,
    PlacementDecision,
    PlacementDecisionStatus,
    PlacementSpec,
    decode_clusterrequest,
    to_dict,
)
from shared.api.generate.schema import object_schema
from shared.kube.quantity import format_quantity, parse_quantity
from shared.model.decision import Proposal, Refusal, Rejection, Shortfall
from shared.model.refs import Head, PlacementRef
from shared.model.request import Cause, Request, WorkloadObject
from shared.pipeline.messages import Scheduled

REF = PlacementRef(workspace="root:team", namespace="apps", name="web")
SHORT = Shortfall(targets=2, replicas=3, resources={"cpu": 1.5, "memory": 2.0**31, "pods": 3.0})
EAST = {"matchLabels": {"region": "east"}}
TERM = {"matchExpressions": [{"key": "tier", "operator": "Exists"}]}
SPEC = {
    "targets": {"selector": EAST, "names": ["east-1"], "workspaces": {"paths": ["root:platform"]}},
    "affinity": {"required": [TERM], "preferred": [{**TERM, "weight": 3}]},
    "spread": [{"topologyKey": "zone"}, {"topologyKey": "rack", "whenUnsatisfiable": "ScheduleAnyway"}],
    "whenUnfulfilled": "Request",
}


def refused(
    missing: Shortfall | None = SHORT, rejections: tuple[Rejection, ...] = (), attempt: int = 4, **spec: Any
) -> Scheduled:
    request = Request(
        placement=REF,
        head=Head(uid="u", generation=3, attempt=attempt),
        cause=Cause(code="Created"),
        spec=msgspec.convert({**SPEC, **spec}, PlacementSpec),
        workload=(WorkloadObject(api_version="apps/v1", kind="Deployment", namespace="apps", name="web"),),
    )
    refusal = Refusal(code="TooFewTargets", message="2 targets are wanted, 0 fit")
    proposal = Proposal(strategy="BestFit", refusal=refusal, missing=missing)
    return Scheduled(request=request, proposal=proposal, rejections=rejections, inventory_revision=1)


def asked(message: Scheduled, before: str | None = None) -> ClusterRequest:
    assert message.proposal.missing is not None
    status = core.record(message, (), message.proposal.refusal, None, 1_000_000.0)
    status = msgspec.structs.replace(status, requested_since=requested_since(message, status, before))
    return cluster_request(message.request, message.proposal.missing, status)


def test_it_says_what_is_missing_for_whom_and_what_a_target_must_be_like() -> None:
    found = asked(refused())
    assert to_dict(found) == {
        "apiVersion": "placement.moorage.io/v1alpha1",
        "kind": "ClusterRequest",
        "metadata": {
            "name": "web",
            "namespace": "apps",
            "labels": {"placement.moorage.io/placement": "web"},
            "annotations": {"placement.moorage.io/attempt": "4"},
            "ownerReferences": [
                {
                    "apiVersion": "placement.moorage.io/v1alpha1",
                    "kind": "Placement",
                    "name": "web",
                    "uid": "u",
                    "controller": True,
                }
            ],
        },
        "spec": {
            "placementRef": {"name": "web", "namespace": "apps", "uid": "u"},
            "workspace": "root:team",
            "since": "1970-01-12T13:46:40.000000Z",
            "reason": "TooFewTargets",
            "message": "2 targets are wanted, 0 fit",
            "missing": {
                "targets": 2,
                "replicas": 3,
                "resources": {"cpu": "1500m", "memory": "2147483648", "pods": "3"},
            },
            "requirements": {
                "selector": EAST,
                "anyOf": [TERM],
                "topologyKeys": ["zone"],
                "names": ["east-1"],
                "workspaces": {"paths": ["root:platform"]},
                "apis": [{"apiVersion": "apps/v1", "kind": "Deployment"}],
            },
        },
    }
    assert (attempt_of(found), uid_of(found.metadata)) == (4, "u")


def test_since_when_is_since_it_was_asked_for_first() -> None:
    first = asked(refused()).spec.since
    assert asked(refused(attempt=5), "2026-01-01T00:00:00Z").spec.since == "2026-01-01T00:00:00Z"
    assert asked(refused(attempt=5), None).spec.since == first
    nothing = refused(missing=None)
    assert requested_since(nothing, PlacementDecisionStatus(decided_at=first), first) is None


def test_why_targets_fell_out_is_bounded_and_the_most_frequent_come_first() -> None:
    rejections = tuple(
        Rejection(reason=f"Plugin:{number}", message="x" * 4096, targets=(), unnamed=number, stage="scheduler")
        for number in range(1, 40)
    )
    found = asked(refused(rejections=rejections)).spec.rejected
    assert [each.count for each in found] == list(range(39, 39 - MOST_REFUSED, -1))
    assert decode_clusterrequest(to_dict(asked(refused(rejections=rejections)))).spec.rejected == found
    bound = object_schema(ClusterRequest)["properties"]["spec"]["properties"]["rejected"]
    assert len(found) <= bound["maxItems"]
    assert all(len(each.message) <= bound["items"]["properties"]["message"]["maxLength"] for each in found)


@given(st.floats(0.001, 2.0**50))
def test_an_amount_is_written_to_a_thousandth(amount: float) -> None:
    assert parse_quantity(format_quantity(amount)) == pytest.approx(amount, abs=0.0006, rel=1e-12)


OWNER = OwnerReference(api_version="x", kind="Placement", name="web", uid="u")


def on_record(since: str | None = "2026-01-01T00:00:00Z", uid: str = "u") -> PlacementDecision:
    owner = msgspec.structs.replace(OWNER, uid=uid)
    status = PlacementDecisionStatus(requested_since=since)
    return PlacementDecision(metadata=ObjectMeta(name="web", owner_references=(owner,)), status=status)


def wanting(uid: str = "u", deleted: str | None = None, **spec: Any) -> Placement:
    metadata = ObjectMeta(name="web", uid=uid, deletion_timestamp=deleted)
    return Placement(metadata=metadata, spec=msgspec.convert({**SPEC, **spec}, PlacementSpec))


def test_it_is_wanted_as_long_as_all_that_is_on_record_says_so() -> None:
    placements = (
        wanting(),
        None,
        wanting(uid="another"),
        wanting(deleted="2026-01-01T00:00:00Z"),
        wanting(whenUnfulfilled="Wait"),
        wanting(suspend=True),
    )
    decisions = (on_record(), None, on_record(since=None), on_record(uid="another"))
    wanted = [
        (place, decision)
        for place, decision in itertools.product(range(len(placements)), range(len(decisions)))
        if still_wanted(asked(refused()).metadata, placements[place], decisions[decision])
    ]
    assert wanted == [(0, 0)]
