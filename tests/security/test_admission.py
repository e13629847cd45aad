"""Rules 1 and 2 at the API server: only Moorage writes what it decides, and whoever changes a spec is the requester.

By plain HTTP, on the sandbox and on a real kube-apiserver. Everybody here has all rights in RBAC: a tenant is the
administrator of its workspace.
"""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import yaml

from services.cli.hub.objects import KINDS
from shared.hub.names import APPROVED_ANNOTATION, PLACED_FINALIZER, REQUESTER_ANNOTATION
from tests.security.admitting import (
    ALONE,
    API,
    FORGED,
    POINTER,
    RBAC,
    SELECTED,
    Hub,
    admits,
    annotated,
    binding,
    entry,
    on_kubernetes,
    on_the_sandbox,
)
from tests.security.places import ACCOUNT, REAL, REAL_HUB, SANDBOX
from tests.support.actors import APPLY, JSON_PATCH, MERGE
from tests.support.kubernetes import Kubernetes, swept_hub
from tests.support.manifests import API_VERSION, exception, obj, placement, policy
from tests.support.scene import ROOT
from tests.support.waiting import until

pytestmark = [pytest.mark.timeout(240), pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=[SANDBOX, pytest.param(REAL_HUB, marks=REAL)],
)
async def hub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    real = request.getfixturevalue("servers") if request.param == REAL_HUB else None
    async with on_kubernetes(real) if real else on_the_sandbox(tmp_path_factory.mktemp("hub")) as actors:
        found = Hub({name.removeprefix(ACCOUNT): actor for name, actor in actors.items()})
        await found.admin.ok("POST", "/api/v1/namespaces", obj("Namespace", name="shop", namespace=""))
        await until(lambda: admits(found), within=60)
        yield found


async def test_a_tenant_that_makes_a_placement_in_another_name_is_recorded_itself(hub: Hub) -> None:
    await hub.alice.ok("POST", f"{API}/placements", annotated(placement("made")))
    assert await hub.requester("made") == "alice"
    apply = annotated(placement("applied"))
    await hub.alice.ok("PATCH", f"{API}/placements/applied?fieldManager=x&force=true", apply, APPLY)
    assert await hub.requester("applied") == "alice"


async def test_a_tenant_that_writes_the_requester_by_a_patch_changes_nothing(hub: Hub) -> None:
    path = await hub.place("patched")
    before = await hub.recorded("patched")
    forged = {"metadata": {"annotations": {REQUESTER_ANNOTATION: FORGED}}}
    for actor in (hub.mallory, hub.admin, hub.actors["controller"]):
        await actor.send("PATCH", path, forged, MERGE)
        assert await hub.recorded("patched") == before
        await actor.send("PATCH", path, [{"op": "replace", "path": POINTER, "value": FORGED}], JSON_PATCH)
        assert await hub.recorded("patched") == before
        await actor.send("PATCH", path, [{"op": "remove", "path": POINTER}], JSON_PATCH)
        assert await hub.recorded("patched") == before


async def test_a_tenant_that_takes_the_requester_over_by_apply_changes_nothing(hub: Hub) -> None:
    path = await hub.place("taken")
    before = await hub.recorded("taken")
    metadata = {"name": "taken", "namespace": "shop", "annotations": {REQUESTER_ANNOTATION: FORGED}}
    body = {"apiVersion": API_VERSION, "kind": "Placement", "metadata": metadata}
    await hub.mallory.send("PATCH", f"{path}?fieldManager=x&force=true", body, APPLY)
    assert await hub.recorded("taken") == before
    metadata.pop("annotations")  # and what a manager does not name any more is not removed with it
    await hub.mallory.send("PATCH", f"{path}?fieldManager=x&force=true", body, APPLY)
    assert await hub.recorded("taken") == before


async def test_a_tenant_that_replaces_a_placement_leaving_the_requester_out_changes_nothing(hub: Hub) -> None:
    path = await hub.place("replaced")
    before = await hub.recorded("replaced")
    for annotations in ({}, {REQUESTER_ANNOTATION: FORGED}):
        found = await hub.mallory.ok("GET", path)
        found["metadata"]["annotations"] = annotations
        await hub.mallory.send("PUT", path, found)
        assert await hub.recorded("replaced") == before


async def test_whoever_writes_into_anothers_placement_is_its_requester_from_then_on(hub: Hub) -> None:
    path = await hub.place("mine")
    await hub.mallory.ok("PATCH", path, {"spec": {"workload": entry("evil")}}, MERGE)
    assert await hub.requester("mine") == "mallory"
    await hub.alice.ok("PATCH", path, {"spec": {"workload": entry("good")}}, MERGE)
    assert await hub.requester("mine") == "alice"


@pytest.mark.parametrize("way", ["merge patch", "json patch", "apply", "put"])
async def test_whoever_changes_the_spec_and_forges_the_requester_at_once_is_recorded(hub: Hub, way: str) -> None:
    name = way.replace(" ", "-")
    path = await hub.place(name)
    changed = {"spec": {"workload": entry("evil")}, "metadata": {"annotations": {REQUESTER_ANNOTATION: FORGED}}}
    match way:
        case "merge patch":
            await hub.mallory.ok("PATCH", path, changed, MERGE)
        case "json patch":
            swap = [("/spec/workload/0/name", "evil"), (POINTER, FORGED)]
            patch = [{"op": "replace", "path": path, "value": value} for path, value in swap]
            await hub.mallory.ok("PATCH", path, patch, JSON_PATCH)
        case "apply":
            body = annotated(placement(name, workload=entry("evil")))
            await hub.mallory.ok("PATCH", f"{path}?fieldManager=x&force=true", body, APPLY)
        case _:
            found = await hub.mallory.ok("GET", path)
            found["spec"], found["metadata"]["annotations"] = changed["spec"], {REQUESTER_ANNOTATION: FORGED}
            await hub.mallory.ok("PUT", path, found)
    assert await hub.requester(name) == "mallory"


@pytest.mark.parametrize("way", ["post", "apply"])
async def test_a_placement_stays_from_its_creation_on_until_the_controller_lets_it_go(hub: Hub, way: str) -> None:
    path, body = f"{API}/placements/held-{way}", placement(f"held-{way}")
    body["metadata"]["finalizers"] = ["example.com/mine"]
    if way == "post":
        await hub.alice.ok("POST", f"{API}/placements", body)
    else:
        await hub.alice.ok("PATCH", f"{path}?fieldManager=x", body, APPLY)
    assert set((await hub.alice.ok("GET", path))["metadata"]["finalizers"]) == {"example.com/mine", PLACED_FINALIZER}
    body["metadata"]["finalizers"] = []  # what nobody applied is not taken away by applying again
    await hub.alice.ok("PATCH", f"{path}?fieldManager=x&force=true", body, APPLY)
    assert PLACED_FINALIZER in (await hub.alice.ok("GET", path))["metadata"]["finalizers"]
    for actor in (hub.alice, hub.mallory, hub.admin):
        await actor.ok("PATCH", path, {"metadata": {"finalizers": None}}, MERGE)
        assert (await hub.alice.ok("GET", path))["metadata"]["finalizers"] == [PLACED_FINALIZER]
    await hub.alice.ok("DELETE", path)
    assert (await hub.alice.ok("GET", path))["metadata"]["deletionTimestamp"]
    await hub.actors["controller"].ok("PATCH", path, {"metadata": {"finalizers": None}}, MERGE)
    assert (await hub.admin.send("GET", path))[0] == 404


async def test_labels_finalizers_and_status_do_not_make_anybody_the_requester(hub: Hub) -> None:
    path = await hub.place("touched")
    before = await hub.recorded("touched")
    labels = {"metadata": {"labels": {"a": "b"}, "finalizers": ["placement.moorage.io/placed"]}}
    await hub.actors["controller"].ok("PATCH", path, labels, MERGE)
    await hub.actors["status"].ok("PATCH", f"{path}/status", {"status": {"phase": "Pending"}}, MERGE)
    assert await hub.recorded("touched") == before


@pytest.mark.parametrize("who", ["alice", "mallory", "controller", "binding", "status"])
async def test_a_tenant_that_decides_by_itself_is_refused(hub: Hub, who: str) -> None:
    actor, name = hub.actors[who], f"decided-{who}"
    path = await hub.decided(name)
    assert (await actor.send("PATCH", f"{path}/status", {"status": SELECTED}, MERGE))[0] == 404
    assert ALONE in await actor.refused("PATCH", path, {"status": SELECTED}, MERGE)
    swap = [{"op": "add", "path": "/status", "value": SELECTED}]
    assert ALONE in await actor.refused("PATCH", path, swap, JSON_PATCH)
    body = obj("PlacementDecision", API_VERSION, name=name, status=SELECTED)
    assert ALONE in await actor.refused("PATCH", f"{path}?fieldManager=x&force=true", body, APPLY)
    found = await actor.ok("GET", path)
    assert ALONE in await actor.refused("PUT", path, {**found, "status": SELECTED})
    assert ALONE in await actor.refused("PATCH", path, {"metadata": {"labels": {"a": "b"}}}, MERGE)
    slice_of = obj("PlacementDecision", API_VERSION, name=f"{name}-0-1", status={**SELECTED, "revision": "0"})
    assert ALONE in await actor.refused("POST", f"{API}/placementdecisions", slice_of)
    fresh = obj("PlacementDecision", API_VERSION, name=f"{name}-2", status=SELECTED)
    assert ALONE in await actor.refused("POST", f"{API}/placementdecisions", fresh)
    assert ALONE in await actor.refused("PATCH", f"{API}/placementdecisions/{name}-2?fieldManager=x", fresh, APPLY)
    assert (await hub.admin.ok("GET", path)).get("status", {}).get("selected", []) == []


@pytest.mark.parametrize("who", ["alice", "mallory", "controller", "decision", "status"])
async def test_a_tenant_that_binds_by_itself_or_strips_what_holds_a_binding_is_refused(hub: Hub, who: str) -> None:
    actor, name = hub.actors[who], f"bound-{who}"
    path = await hub.bound(name)
    elsewhere = {"spec": {"target": {"workspace": "root:rich", "name": "huge"}}}
    assert ALONE in await actor.refused("PATCH", path, elsewhere, MERGE)
    assert ALONE in await actor.refused("PATCH", path, {"metadata": {"finalizers": None}}, MERGE)
    strip = [{"op": "remove", "path": "/metadata/finalizers"}]
    assert ALONE in await actor.refused("PATCH", path, strip, JSON_PATCH)
    assert ALONE in await actor.refused("PATCH", f"{path}/status", {"status": {"phase": "Ready"}}, MERGE)
    assert ALONE in await actor.refused("POST", f"{API}/placementbindings", binding(f"{name}-2"))
    found = await actor.ok("GET", path)
    found["metadata"].pop("finalizers")
    assert ALONE in await actor.refused("PUT", path, found)


async def test_a_tenant_that_deletes_a_binding_waits_until_its_objects_are_out(hub: Hub) -> None:
    path = await hub.bound("deleted")
    await hub.alice.ok("DELETE", path)
    assert ALONE in await hub.alice.refused("PATCH", path, {"metadata": {"finalizers": None}}, MERGE)
    assert (await hub.admin.ok("GET", path))["metadata"]["deletionTimestamp"]
    await hub.actors["binding"].ok("PATCH", path, {"metadata": {"finalizers": None}}, MERGE)
    assert (await hub.admin.send("GET", path))[0] == 404


@pytest.mark.parametrize("who", ["alice", "mallory", "controller", "binding", "status"])
async def test_nobody_asks_for_clusters_but_decision_and_whoever_may_says_what_becomes_of_it(
    hub: Hub, who: str
) -> None:
    actor, name = hub.actors[who], f"asked-{who}"
    spec = {
        "placementRef": {"name": name},
        "since": "2026-01-01T00:00:00Z",
        "reason": "TooFewTargets",
        "missing": {"targets": 1, "resources": {"cpu": "2"}},
    }
    body = obj("ClusterRequest", API_VERSION, name=name, spec=spec)
    assert ALONE in await actor.refused("POST", f"{API}/clusterrequests", body)
    await hub.actors["decision"].ok("POST", f"{API}/clusterrequests", body)
    path = f"{API}/clusterrequests/{name}"
    assert ALONE in await actor.refused("PATCH", path, {"spec": {"missing": {"targets": 900}}}, MERGE)
    assert ALONE in await actor.refused("PATCH", path, {"metadata": {"labels": {"a": "b"}}}, MERGE)
    accepted = {"type": "Accepted", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    both = {"spec": {"missing": {"targets": 900}}, "status": {"conditions": [accepted]}}
    await hub.alice.ok("PATCH", f"{path}/status", both, MERGE)
    found = await hub.admin.ok("GET", path)
    assert found["spec"]["missing"] == spec["missing"]
    assert found["status"] == {"conditions": [accepted]}
    await hub.alice.ok("DELETE", path)
    assert (await hub.admin.send("GET", path))[0] == 404


async def test_a_tenant_may_delete_a_decision_which_begins_anew(hub: Hub) -> None:
    path = await hub.decided("begun")
    await hub.alice.ok("DELETE", path)
    assert (await hub.admin.send("GET", path))[0] == 404


async def test_a_tenant_that_reports_by_itself_is_refused(hub: Hub) -> None:
    path = await hub.place("reported")
    assert ALONE in await hub.alice.refused("PATCH", f"{path}/status", {"status": {"phase": "Ready"}}, MERGE)
    policies = "/apis/placement.moorage.io/v1alpha1/placementpolicies"
    rule = {"name": "all", "expression": "true"}
    body = obj("PlacementPolicy", API_VERSION, name="mine", namespace="", spec={"rules": [rule]})
    await hub.alice.ok("POST", policies, body)
    forged = {"status": {"observedGeneration": 1}}
    assert ALONE in await hub.alice.refused("PATCH", f"{policies}/mine/status", forged, MERGE)


@pytest.mark.servers
@pytest.mark.xdist_group("servers-security")
async def test_a_real_server_takes_the_policies_that_are_for_kcp(servers: Kubernetes) -> None:
    """It checks types and compiles what they say before it answers, also when it only tries."""
    async with swept_hub(servers.hub) as client:
        for document in yaml.safe_load_all((ROOT / "deploy/kcp/admission.yaml").read_text()):
            tried = await client.apply(KINDS[document["kind"]], document, force=True, dry_run=True)
            for field in ("validations", "mutations"):
                assert tried["spec"].get(field) == document["spec"].get(field)


async def test_a_tenant_that_may_change_a_placement_and_not_approve_it_approves_nothing(hub: Hub) -> None:
    rules = [
        {"apiGroups": ["placement.moorage.io"], "resources": ["placements"], "verbs": ["get", "create", "patch"]},
        {"nonResourceURLs": ["/"], "verbs": ["access"]},
    ]
    role = {"kind": "ClusterRole", "name": "hasty", "apiGroup": RBAC}
    await hub.admin.ok("POST", f"/apis/{RBAC}/v1/clusterroles", {"metadata": {"name": "hasty"}, "rules": rules})
    bound = {"metadata": {"name": "hasty"}, "roleRef": role, "subjects": [{**role, "kind": "User", "name": "hasty"}]}
    await hub.admin.ok("POST", f"/apis/{RBAC}/v1/clusterrolebindings", bound)
    path, hasty = await hub.place("by-steps"), hub.admin.acting("hasty")

    async def rights_hold() -> bool:
        return (await hasty.send("GET", path))[0] == 200

    await until(rights_hold, within=60)
    approval = {"metadata": {"annotations": {APPROVED_ANNOTATION: "r/1"}}}
    assert "needs the verb approve" in await hasty.refused("PATCH", path, approval, MERGE)
    made = placement("approved-at-once")
    made["metadata"]["annotations"] = approval["metadata"]["annotations"]
    assert "needs the verb approve" in await hasty.refused("POST", f"{API}/placements", made)
    await hub.alice.ok("PATCH", path, approval, MERGE)
    await hasty.ok("PATCH", path, {"metadata": {"labels": {"other": "change"}}}, MERGE)
    await hasty.ok("PATCH", path, {"metadata": {"annotations": {APPROVED_ANNOTATION: None}}}, MERGE)


async def test_uid_and_extra_of_a_requester_are_recorded_as_they_are(hub: Hub) -> None:
    strange, odd = "Impersonate-Extra-x%2fy%22%5d%7d", '"}]\\'
    extra = {"Impersonate-Extra-a": ["1", "2"], strange: [odd]}
    headers = {"Impersonate_Group": ["system:masters"], "Impersonate_Uid": ["7"], **extra}
    await hub.admin.acting("carol", **headers).ok("POST", f"{API}/placements", placement("carols"))
    who = json.loads(await hub.recorded("carols"))
    assert (who["username"], who["uid"], who["groups"]) == ("carol", "7", ["system:masters", "system:authenticated"])
    assert who["extra"] == {"a": ["1", "2"], 'x/y"]}': [odd]}


OVERRIDES = "/apis/placement.moorage.io/v1alpha1/placementoverrides"


def override(name: str, kind: str = "Force", **spec: Any) -> dict[str, Any]:
    about = {"placementRef": {"name": "mine", "namespace": "shop"}, "targets": [{"name": "east"}], "reason": "it burns"}
    return obj("PlacementOverride", API_VERSION, name=name, namespace="", spec={"type": kind, **about, **spec})


POLICIES = "/apis/placement.moorage.io/v1alpha1/placementpolicies"
EXCEPTIONS = "/apis/placement.moorage.io/v1alpha1/policyexceptions"
LIFTED = exception("authored", "p", match={"namespaces": ["shop"]})
CALM = policy("authored", {"name": "r", "expression": "true"})


@pytest.mark.parametrize(
    ("collection", "made", "change"),
    [
        (OVERRIDES, override("authored"), {"reason": "it still burns"}),
        (POLICIES, CALM, {"priority": 1}),
        (EXCEPTIONS, LIFTED, {"reason": "it moves later"}),
    ],
    ids=["override", "policy", "exception"],
)
async def test_who_writes_what_operators_write_is_its_author_whatever_it_says_of_itself(
    hub: Hub, collection: str, made: dict[str, Any], change: dict[str, Any]
) -> None:
    async def author() -> str:
        found = await hub.admin.ok("GET", f"{collection}/authored")
        assert "finalizers" not in found["metadata"]
        return str(json.loads(found["metadata"]["annotations"][REQUESTER_ANNOTATION])["username"])

    await hub.mallory.ok("POST", collection, annotated(made))
    assert await author() == "mallory"
    path = f"{collection}/authored"
    for actor in (hub.mallory, hub.admin, hub.actors["controller"]):
        await actor.send("PATCH", path, {"metadata": {"annotations": {REQUESTER_ANNOTATION: FORGED}}}, MERGE)
        await actor.send("PATCH", path, [{"op": "remove", "path": POINTER}], JSON_PATCH)
        assert await author() == "mallory"
    await hub.alice.ok("PATCH", path, {"spec": change}, MERGE)
    assert await author() == "alice"
    status, answer = await hub.alice.send("PATCH", f"{path}/status", {"status": {"observedGeneration": 9}}, MERGE)
    assert (status, ALONE in answer["message"]) == (403, True)
    await hub.admin.ok("DELETE", path)


async def test_an_override_that_contradicts_another_is_refused_with_its_name(hub: Hub) -> None:
    await hub.alice.ok("POST", OVERRIDES, override("first"))

    async def refused() -> tuple[int, str]:
        status, answer = await hub.mallory.send("POST", f"{OVERRIDES}?dryRun=All", override("second", "Exclude"))
        return status, str(answer.get("message", ""))

    # A server learns of what policies have as parameters a moment after it was made.
    told = await until(refused, "the contradiction is refused", holds=lambda answer: answer[0] == 422, within=60)
    assert "it contradicts the PlacementOverride first (Force): take that back" in told[1]
    await hub.mallory.ok("POST", f"{OVERRIDES}?dryRun=All", override("second", "Exclude", priority=1))
    await hub.mallory.ok("POST", f"{OVERRIDES}?dryRun=All", override("second", "Exclude", targets=[{"name": "west"}]))
    await hub.mallory.ok("POST", f"{OVERRIDES}?dryRun=All", override("second", "Avoid"))
    await hub.alice.ok("PATCH", f"{OVERRIDES}/first", {"spec": {"reason": "another"}}, MERGE)
    for mistake in ({"reason": " "}, {"overCommit": True}, {"targets": []}):
        status, _ = await hub.alice.send("POST", OVERRIDES, override("third", "Avoid", **mistake))
        assert status == 422, mistake
    await hub.admin.ok("DELETE", f"{OVERRIDES}/first")
