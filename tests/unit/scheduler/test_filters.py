"""Each filter: which targets fall out, under which reason and words."""

from typing import Any

import pytest

from services.scheduler.filters import FILTERS
from shared.api import Taint
from shared.model.decision import Reservation
from shared.model.refs import Head
from shared.model.request import Request, WorkloadObject
from shared.model.target import ApiKind, Terms
from tests.unit.scheduler.builders import (
    NOW,
    REGION,
    asking,
    candidates_of,
    daemonset,
    decide,
    deployment,
    placement,
    request,
    snapshot_of,
    target,
)

SPOT = Taint(key="spot", value="true", effect="NoSchedule")
EVICT = Taint(key="drain", effect="NoExecute")


def selecting(**selector: Any) -> Request:
    return request({"targets": {"selector": selector}})


def tolerating(**toleration: Any) -> Request:
    return request({"targets": {"tolerations": [toleration]}})


def requiring(*terms: tuple[str, str, str]) -> Request:
    """Terms of one expression each: key, operator, value."""
    expressions = [{"key": key, "operator": operator, "values": [value]} for key, operator, value in terms]
    return request({"affinity": {"required": [{"matchExpressions": [each]} for each in expressions]}})


def divided(**entry: Any) -> Request:
    return request({"replicas": {"division": "Weighted", "weights": [entry]}})


def lost_for(seconds: float, **facts: Any) -> dict[str, Any]:
    return {"ready": False, "lost_since": NOW - seconds, **facts}


STAYING = request(previous=["root/t"])
LEAVING = request(previous=["root/t"], leaving=("root/t",))
OUTLIVED = request({"targets": {"tolerations": [{"operator": "Exists"}]}}, previous=["root/t"], leaving=("root/t",))
BETA = ApiKind(group="apps", resource="deployments", kind="Deployment", versions=("v1beta1",))
WIDE = ApiKind(group="apps", resource="deployments", kind="Deployment", versions=("v1",), namespaced=False)
GRANT = WorkloadObject(
    api_version="rbac.authorization.k8s.io/v1", kind="RoleBinding", namespace="shop", name="admin", guarded=True
)
GRANTING = request(workload=[GRANT])
NO_GOLD = {"key": "tier", "operator": "DoesNotExist"}
SOFT = {"topologyKey": REGION, "whenUnsatisfiable": "ScheduleAnyway"}
UNTOLERATED = ["untolerated taint spot=true"]


@pytest.mark.parametrize(
    ("filter", "asked", "facts", "said"),
    [
        ("Selection", selecting(matchLabels={"tier": "gold"}), {"labels": {"tier": "gold"}}, []),
        ("Selection", selecting(matchLabels={"tier": "gold"}), {}, ["not matching the selector"]),
        ("Selection", selecting(matchExpressions=[NO_GOLD]), {}, []),
        ("Selection", request({"targets": {"names": ["t", "u"]}}), {}, []),
        ("Selection", request({"targets": {"names": ["u"]}}), {}, ["not among the names"]),
        ("Unschedulable", request(), {"unschedulable": True}, ["unschedulable"]),
        ("Unschedulable", STAYING, {"unschedulable": True}, []),
        ("Readiness", request(), {"ready": False}, ["not ready"]),
        ("Readiness", STAYING, {"ready": False}, []),
        ("Readiness", request(), lost_for(1), ["lost"]),
        ("Readiness", STAYING, lost_for(9999), []),
        ("Readiness", LEAVING, lost_for(1), ["lost"]),
        ("Readiness", LEAVING, {"ready": False}, ["not ready"]),
        ("Readiness", LEAVING, {}, []),
        ("Taints", OUTLIVED, {"taints": (EVICT,)}, ["tolerated for long enough"]),
        ("Taints", OUTLIVED, {"ready": False}, []),
        ("Taints", request(), {"taints": (SPOT,)}, UNTOLERATED),
        ("Taints", request(), {"taints": (EVICT, SPOT)}, ["untolerated taint drain"]),
        ("Taints", request(), {"taints": (Taint(key="x", effect="PreferNoSchedule"),)}, []),
        ("Taints", tolerating(key="spot", operator="Exists"), {"taints": (SPOT,)}, []),
        ("Taints", tolerating(key="spot", value="true"), {"taints": (SPOT,)}, []),
        ("Taints", tolerating(key="spot", value="false"), {"taints": (SPOT,)}, UNTOLERATED),
        ("Taints", tolerating(operator="Exists"), {"taints": (SPOT, EVICT)}, []),
        ("Taints", tolerating(key="spot", operator="Exists", effect="NoExecute"), {"taints": (SPOT,)}, UNTOLERATED),
        ("Taints", tolerating(key="drain", operator="Exists", tolerationSeconds=9), {"taints": (EVICT,)}, []),
        ("Taints", STAYING, {"taints": (SPOT,)}, []),
        ("Taints", STAYING, {"taints": (SPOT, EVICT)}, ["untolerated taint drain"]),
        ("APIs", request(), {}, []),
        ("APIs", request(), {"apis": ()}, ["lacks apps/v1 Deployment"]),
        ("APIs", request(), {"apis": (BETA,)}, ["lacks apps/v1 Deployment"]),
        ("APIs", STAYING, {"apis": ()}, ["lacks apps/v1 Deployment"]),
        ("APIs", STAYING, {"apis": (), "ready": False}, []),
        ("Terms", request(), {}, []),
        ("Terms", request(), {"terms": Terms(protected_namespaces=("shop",))}, ["protecting namespace shop"]),
        ("Terms", request(), {"terms": Terms(protected_namespaces=("sh*",))}, ["protecting namespace shop"]),
        ("Terms", request(), {"terms": Terms(protected_namespaces=("sho", "shop-*"))}, []),
        ("Terms", STAYING, {"terms": Terms(protected_namespaces=("*",))}, ["protecting namespace shop"]),
        ("Terms", request(), {"claims": {"shop": "root:shop"}}, []),
        ("Terms", request(), {"claims": {"shop": "root:rival", "x": "root"}}, ["not giving us namespace shop"]),
        ("Terms", request(), {"claims": {"shop": None}}, ["not giving us namespace shop"]),
        ("Terms", STAYING, {"claims": {"shop": None}}, ["not giving us namespace shop"]),
        ("Terms", request(), {"claims": {"shop": None}, "terms": Terms(per_workspace=True)}, []),
        ("Terms", GRANTING, {}, ["not allowing RoleBinding"]),
        ("Terms", GRANTING, {"terms": Terms(allowed_kinds=("Role", "RoleBinding"))}, ["not allowing RoleBinding"]),
        ("Terms", GRANTING, {"terms": Terms(allowed_kinds=("RoleBinding.rbac.authorization.k8s.io",))}, []),
        ("Terms", request(), {"apis": (WIDE,)}, ["not allowing Deployment, which has no namespace"]),
        ("Affinity", requiring((REGION, "In", "eu")), {"region": "us"}, ["not matching the required affinity"]),
        ("Affinity", requiring((REGION, "In", "eu"), (REGION, "In", "us")), {"region": "us"}, []),
        ("Affinity", requiring(("n", "Gt", "3")), {"labels": {"n": "10"}}, []),
        ("Affinity", requiring(("n", "Lt", "3")), {"labels": {"n": "ten"}}, ["not matching the required affinity"]),
        ("Topology", request({"spread": [{"topologyKey": REGION}]}), {}, [f"without label {REGION}"]),
        ("Topology", request({"spread": [SOFT]}), {}, []),
        ("Weight", divided(target={"name": "t"}, weight=0), {}, ["with replica weight 0"]),
        ("Weight", divided(target={"name": "t", "workspace": "root"}, weight=0), {}, ["with replica weight 0"]),
        ("Weight", divided(target={"name": "t", "workspace": "other"}, weight=0), {}, []),
        ("Weight", divided(selector={}, weight=3), {}, []),
        ("Fit", asking(10, cpu=1.0), {}, []),
        ("Fit", asking(11, cpu=1.0), {}, ["insufficient cpu"]),
        ("Fit", asking(101, cpu=0.01), {}, ["insufficient pods"]),
        ("Fit", asking(cpu=1.0, gpu=1.0), {}, ["insufficient gpu"]),
        ("Fit", asking(cpu=3.0), {"allocated": {"cpu": 8.0}}, ["insufficient cpu"]),
        ("Fit", asking(cpu=3.0), {"allocated": {"cpu": -8.0}}, []),
        ("Fit", asking(cpu=1.0), {"allocatable": {"cpu": float("nan"), "pods": 1.0}}, ["insufficient cpu"]),
        ("Fit", asking(cpu=1.0), {"allocatable": {"cpu": -4.0, "pods": 1.0}}, ["insufficient cpu"]),
        ("Fit", asking(cpu=float("nan")), {}, []),
        ("Fit", request(workload=[daemonset(cpu=2.0)]), {"nodes": 5}, []),
        ("Fit", request(workload=[daemonset(cpu=2.0)]), {"nodes": 6}, ["insufficient cpu"]),
        ("Fit", request(workload=[daemonset(cpu=10.0)]), {"nodes": 0}, []),
        ("Fit", request(workload=[daemonset(cpu=0.01)]), {"nodes": 101}, ["insufficient pods"]),
        ("Fit", request(workload=[daemonset(cpu=2.0), deployment(cpu=4.1)]), {"nodes": 3}, ["insufficient cpu"]),
    ],
)  # fmt: skip
def test_a_filter_excludes_with_its_words(filter, asked, facts, said) -> None:
    exclusions = FILTERS[filter](candidates_of(asked, [target("t", **facts)]))
    assert [exclusion.message for exclusion in exclusions if exclusion.excluded.all()] == said


def test_the_own_reservation_does_not_count_against_staying() -> None:
    asked = request(workload=[deployment(cpu=6.0)], previous=["root/t"])
    head = Head(uid="u", generation=1, attempt=1)
    mine = ("root/t", Reservation(placement=placement(), head=head, resources={"cpu": 6.0, "pods": 1.0}))
    theirs = ("root/t", Reservation(placement=placement("other"), head=head, resources={"cpu": 5.0}))
    targets = [target("t")]

    assert decide(asked, targets, snapshot=snapshot_of(targets, [mine])).proposal.refusal is None
    refused = decide(asked, targets, snapshot=snapshot_of(targets, [mine, theirs])).proposal.refusal
    assert refused is not None
    assert refused.message == "0/1 targets: 1 insufficient cpu"


@pytest.mark.parametrize(("cpu", "message"), [(2.0, None), (1.0, None), (2.5, "0/1 targets: 1 insufficient cpu")])
def test_a_target_that_is_waited_for_gives_what_it_gave_and_no_more(cpu: float, message: str | None) -> None:
    asked = request(workload=[deployment(cpu=cpu)], previous=["root/t"])
    head = Head(uid="u", generation=1, attempt=1)
    mine = ("root/t", Reservation(placement=placement(), head=head, resources={"cpu": 2.0, "pods": 1.0}))
    targets = [target("t", ready=False, allocatable={})]
    refusal = decide(asked, targets, snapshot=snapshot_of(targets, [mine])).proposal.refusal
    assert (refusal and refusal.message) == message


def test_a_target_counts_under_the_first_reason_only() -> None:
    outcome = decide(request(), [target("a", unschedulable=True, apis=()), target("b", apis=())])
    assert [(each.reason, each.targets) for each in outcome.rejections] == [
        ("Unschedulable", ("root/a",)),
        ("MissingAPI", ("root/b",)),
    ]
