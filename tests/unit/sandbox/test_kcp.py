"""Workspaces, isolation, RBAC and reviews, in kcp's manner."""

import json

import pytest

CONFIGS = "/api/v1/namespaces/default/configmaps"
WORKSPACES = "/apis/tenancy.kcp.io/v1alpha1/workspaces"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
AUTHORIZATION = "/apis/authorization.k8s.io/v1"


async def grant(api, user, *rules, kind="User", access=True):
    """A cluster role and binding for one subject."""
    entry = [{"verbs": ["access"], "nonResourceURLs": ["/"]}] if access else []
    await api("POST", f"{RBAC}/clusterroles", {"metadata": {"name": user}, "rules": [*entry, *rules]}, expect=201)
    binding = {
        "metadata": {"name": user},
        "roleRef": {"kind": "ClusterRole", "name": user, "apiGroup": "rbac.authorization.k8s.io"},
        "subjects": [{"kind": kind, "name": user}],
    }
    await api("POST", f"{RBAC}/clusterrolebindings", binding, expect=201)


def rule(verbs, resources, groups=("",), **more):
    return {"verbs": verbs.split(), "apiGroups": list(groups), "resources": resources.split(), **more}


async def test_a_workspace_becomes_ready_and_has_a_logical_cluster(hub):
    made = await hub("POST", WORKSPACES, {"metadata": {"name": "team"}}, expect=201)
    assert made["status"]["phase"] == "Scheduling"
    found = await hub("GET", f"{WORKSPACES}/team")
    assert found["status"]["phase"] == "Ready"
    assert found["spec"]["URL"] == "http://sandbox.test/clusters/root:team"
    assert found["spec"]["type"] == {"name": "universal", "path": "root"}
    logical = await hub.at("root:team")("GET", "/apis/core.kcp.io/v1alpha1/logicalclusters/cluster")
    assert logical["metadata"]["annotations"]["kcp.io/path"] == "root:team"
    assert logical["metadata"]["annotations"]["kcp.io/cluster"] == found["spec"]["cluster"]
    await hub.at(found["spec"]["cluster"])("GET", CONFIGS)


async def test_workspaces_do_not_see_each_other(hub):
    await hub("POST", WORKSPACES, {"metadata": {"name": "team"}}, expect=201)
    await hub("POST", CONFIGS, {"metadata": {"name": "one"}}, expect=201)
    assert (await hub.at("root:team")("GET", CONFIGS))["items"] == []


async def test_deleting_a_workspace_removes_all_below_it(hub):
    await hub("POST", WORKSPACES, {"metadata": {"name": "team"}}, expect=201)
    team = hub.at("root:team")
    await team("POST", WORKSPACES, {"metadata": {"name": "sub"}}, expect=201)
    events = await hub.at("root:team:sub").watch(CONFIGS)
    await hub.at("root:team:sub")("POST", CONFIGS, {"metadata": {"name": "one"}}, expect=201)
    assert await events.names(1) == [("ADDED", "one")]
    await hub("DELETE", f"{WORKSPACES}/team")
    assert await events.names(1) == [("DELETED", "one")]
    with pytest.raises(StopAsyncIteration):
        await events.next()
    await team("GET", CONFIGS, expect=404)
    await hub.at("root:team:sub")("GET", CONFIGS, expect=404)


@pytest.mark.parametrize("cluster", ["none", "*", ".."])
async def test_an_unknown_id_is_forbidden(hub, cluster):
    status = await hub.at(cluster)("GET", CONFIGS, expect=403)
    assert status["reason"] == "Forbidden"


@pytest.mark.parametrize("cluster", ["root:none", "target:none", "root:"])
async def test_an_unknown_path_is_not_found_whatever_is_asked_for(hub, cluster):
    for path in (CONFIGS, f"{WORKSPACES}/team", "/api"):
        status = await hub.at(cluster)("GET", path, expect=404)
        assert status["details"] == {"name": cluster, "group": "tenancy.kcp.io", "kind": "workspaces"}


async def test_a_workspace_serves_no_deployments_by_itself(hub):
    await hub("GET", "/apis/apps/v1/namespaces/default/deployments", expect=404)


@pytest.mark.parametrize("token", ["", "forged", "é"])
async def test_an_unknown_token_is_unauthorized(hub, token):
    response = await hub.at("root", token or "x").raw("GET", CONFIGS)
    assert response.status == 401
    assert json.loads(response.body)["reason"] == "Unauthorized"


async def test_hub_and_target_tokens_are_not_interchangeable(hub, target):
    await hub.at(target.cluster)("GET", CONFIGS, expect=401)
    await target.at("root")("GET", CONFIGS, expect=401)


async def test_access_comes_before_rbac(hub):
    token = hub.sandbox.add_user("alice")
    alice = hub.at("root", token)
    await grant(hub, "alice", rule("get list", "configmaps"), access=False)
    await alice("GET", CONFIGS, expect=403)
    access = {"metadata": {"name": "enter"}, "rules": [{"verbs": ["access"], "nonResourceURLs": ["/"]}]}
    await hub("POST", f"{RBAC}/clusterroles", access, expect=201)
    binding = {"metadata": {"name": "enter"}, "roleRef": {"kind": "ClusterRole", "name": "enter"}}
    subjects = [{"kind": "Group", "name": "system:authenticated"}]
    await hub("POST", f"{RBAC}/clusterrolebindings", {**binding, "subjects": subjects}, expect=201)
    await alice("GET", CONFIGS)


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", CONFIGS, 200),
        ("GET", f"{CONFIGS}/one", 200),
        ("GET", f"{CONFIGS}/two", 200),
        ("DELETE", f"{CONFIGS}/one", 403),
        ("DELETE", CONFIGS, 403),
        ("GET", "/api/v1/namespaces/default/secrets", 403),
        ("GET", "/api/v1/namespaces/default/secrets/named", 404),
        ("GET", "/api/v1/namespaces/default/secrets/other", 403),
        ("GET", "/apis", 200),
        ("GET", "/metrics", 403),
    ],
)
async def test_rbac_decides(hub, method, path, code):
    for name in ("one", "two"):
        await hub("POST", CONFIGS, {"metadata": {"name": name}}, expect=201)
    await grant(
        hub,
        "alice",
        rule("get list watch", "configmaps"),
        rule("get", "secrets", resourceNames=["named"]),
    )
    token = hub.sandbox.add_user("alice")
    assert (await hub.at("root", token).raw(method, path)).status == code


async def test_a_role_binding_holds_in_its_namespace_alone(hub):
    await hub("POST", "/api/v1/namespaces", {"metadata": {"name": "other"}}, expect=201)
    await grant(hub, "alice")
    role = {"metadata": {"name": "reader"}, "rules": [rule("list", "configmaps")]}
    await hub("POST", f"{RBAC}/namespaces/default/roles", role, expect=201)
    binding = {
        "metadata": {"name": "reader"},
        "roleRef": {"kind": "Role", "name": "reader"},
        "subjects": [{"kind": "User", "name": "alice"}],
    }
    await hub("POST", f"{RBAC}/namespaces/default/rolebindings", binding, expect=201)
    alice = hub.at("root", hub.sandbox.add_user("alice"))
    await alice("GET", CONFIGS)
    status = await alice("GET", CONFIGS.replace("default", "other"), expect=403)
    assert (
        'User "alice" cannot list resource "configmaps" in API group "" in the namespace "other"' in status["message"]
    )
    await hub("DELETE", f"{RBAC}/namespaces/default/rolebindings/reader")
    await alice("GET", CONFIGS, expect=403)


@pytest.mark.parametrize(
    ("user", "groups", "verb", "name", "expected"),
    [
        ("alice", [], "use", "east", True),
        ("alice", [], "use", "west", False),
        ("alice", [], "get", "east", False),
        ("bob", [], "use", "east", False),
        ("bob", ["system:masters"], "use", "west", True),
    ],
)
async def test_subject_access_review_asks_for_anybody(hub, user, groups, verb, name, expected):
    group = "placement.moorage.io"
    await grant(hub, "alice", rule("use", "synctargets", [group], resourceNames=["east"]))
    asked = {"verb": verb, "group": group, "resource": "synctargets", "name": name}
    body = {"spec": {"user": user, "groups": groups, "resourceAttributes": asked}}
    found = await hub("POST", f"{AUTHORIZATION}/subjectaccessreviews", body, expect=201)
    assert found["status"]["allowed"] is expected
    assert found["kind"] == "SubjectAccessReview"


async def test_a_user_may_ask_about_itself_alone(hub):
    alice = hub.at("root", hub.sandbox.add_user("alice", ("team",)))
    asked = {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}
    found = await alice("POST", f"{AUTHORIZATION}/selfsubjectaccessreviews", asked, expect=201)
    assert found["status"]["allowed"] is False
    await alice("POST", f"{AUTHORIZATION}/subjectaccessreviews", {"spec": {"user": "bob"}}, expect=403)
    who = await alice("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, expect=201)
    assert who["status"]["userInfo"] == {"username": "alice", "groups": ["team", "system:authenticated"]}
    rules = await hub("POST", f"{AUTHORIZATION}/selfsubjectrulesreviews", {"spec": {"namespace": "x"}}, expect=201)
    assert rules["status"]["resourceRules"][0]["verbs"] == ["*"]


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"user": "a"},
        {"resourceAttributes": {}, "nonResourceAttributes": {}, "user": "a"},
        {"resourceAttributes": {}},
        3,
    ],
)
async def test_a_review_that_asks_nothing_is_refused(hub, spec):
    code = 400 if spec == 3 else 422
    await hub("POST", f"{AUTHORIZATION}/subjectaccessreviews", {"spec": spec}, expect=code)


async def test_a_review_of_a_path(hub):
    body = {"spec": {"user": "alice", "nonResourceAttributes": {"verb": "access", "path": "/"}}}
    found = await hub("POST", f"{AUTHORIZATION}/subjectaccessreviews", body, expect=201)
    assert found["status"]["allowed"] is False
    await hub("GET", f"{AUTHORIZATION}/subjectaccessreviews", expect=405)


async def test_the_requester_of_a_placement_is_recorded_and_cannot_be_forged(hub):
    names = {"plural": "placements", "singular": "placement", "kind": "Placement"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1alpha1", "served": True, "storage": True, "schema": schema}
    spec = {"group": "placement.moorage.io", "scope": "Namespaced", "names": names, "versions": [version]}
    crd = {"metadata": {"name": "placements.placement.moorage.io"}, "spec": spec}
    await hub("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd, expect=201)
    group = "placement.moorage.io"
    await grant(hub, "team", rule("*", "placements", [group]), kind="Group")
    alice = hub.at("root", hub.sandbox.add_user("alice", ("team",)))
    path = f"/apis/{group}/v1alpha1/namespaces/default/placements"
    forged = {"metadata": {"name": "p", "annotations": {f"{group}/requester": "{}"}}}
    made = await alice("POST", path, forged, expect=201)
    stamp = made["metadata"]["annotations"][f"{group}/requester"]
    who = {"username": "alice", "uid": "", "groups": ["team", "system:authenticated"], "extra": {}}
    assert json.loads(stamp) == who
    body = {"metadata": {"annotations": {f"{group}/requester": "forged", "x": "y"}}}
    changed = await alice.patch(f"{path}/p", body)
    assert changed["metadata"]["annotations"] == {f"{group}/requester": stamp, "kcp.io/cluster": "root", "x": "y"}
    applied = await alice.apply(
        f"{path}/q", {"apiVersion": f"{group}/v1alpha1", "kind": "Placement", "metadata": {"name": "q"}}, expect=201
    )
    assert json.loads(applied["metadata"]["annotations"][f"{group}/requester"])["username"] == "alice"
    by_admin = await hub.patch(f"{path}/p", body)
    assert by_admin["metadata"]["annotations"][f"{group}/requester"] == stamp


async def test_in_kinds_of_a_workspaces_own_making_anybody_is_forged_once_an_export_offers_them(hub):
    """As on kcp, where admission of an export holds for what came by it."""
    group = "placement.moorage.io"
    names = {"plural": "placements", "singular": "placement", "kind": "Placement"}
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1alpha1", "served": True, "storage": True}
    spec = {"group": group, "scope": "Namespaced", "names": names}
    crd = {"metadata": {"name": f"placements.{group}"}, "spec": spec}
    crd["spec"] |= {"versions": [{**version, "schema": {"openAPIV3Schema": schema}}]}
    await hub("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd, expect=201)
    offered = {**spec, "versions": [{**version, "schema": schema}]}
    for name in ("provider", "one"):
        await hub("POST", "/apis/tenancy.kcp.io/v1alpha1/workspaces", {"metadata": {"name": name}}, expect=201)
    provider, one = hub.at("root:provider"), hub.at("root:one")
    made = {"metadata": {"name": f"v1.placements.{group}"}, "spec": offered}
    await provider("POST", "/apis/apis.kcp.io/v1alpha1/apiresourceschemas", made, expect=201)
    resource = {"group": group, "name": "placements", "schema": f"v1.placements.{group}", "storage": {"crd": {}}}
    export = {"metadata": {"name": group}, "spec": {"resources": [resource]}}
    await provider("POST", "/apis/apis.kcp.io/v1alpha2/apiexports", export, expect=201)
    binding = {"spec": {"reference": {"export": {"path": "root:provider", "name": group}}}}
    await one("POST", "/apis/apis.kcp.io/v1alpha2/apibindings", {"metadata": {"name": "b"}, **binding}, expect=201)
    body = {"metadata": {"name": "p", "annotations": {f"{group}/requester": "forged"}}}
    for api, forged in ((hub, True), (one, False)):
        stored = await api("POST", f"/apis/{group}/v1alpha1/namespaces/default/placements", body, expect=201)
        assert (stored["metadata"]["annotations"][f"{group}/requester"] == "forged") is forged


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        ([rule("get", "configmaps")], 201),
        ([rule("get", "secrets")], 403),
        ([rule("*", "configmaps")], 403),
        ([{"verbs": ["get"], "nonResourceURLs": ["/metrics"]}], 403),
        ([rule("get", " ".join(["configmaps"] * 1001))], 403),
    ],
)
async def test_nobody_gives_rights_that_he_has_not(hub, rules, code):
    group = "rbac.authorization.k8s.io"
    await grant(
        hub, "alice", rule("get list", "configmaps"), rule("create", "clusterroles clusterrolebindings", [group])
    )
    alice = hub.at("root", hub.sandbox.add_user("alice"))
    status = await alice("POST", f"{RBAC}/clusterroles", {"metadata": {"name": "r"}, "rules": rules}, expect=code)
    assert code == 201 or "not currently held" in status["message"]
    body = {"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "cluster-admin"}}
    await alice("POST", f"{RBAC}/clusterrolebindings", body, expect=403)
