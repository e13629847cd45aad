"""What comes in from outside: bodies, media types, names, discovery, health, and the sandbox's own API."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sandbox.sandbox import Sandbox
from services.sandbox.wire import protobuf
from services.sandbox.wire.http import BODY_LIMIT, Request

CONFIGS = "/api/v1/namespaces/default/configmaps"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


@pytest.mark.parametrize(
    ("body", "content_type", "code", "reason"),
    [
        (b"{", "application/json", 400, "BadRequest"),
        (b"\xff\xfe", "application/json", 400, "BadRequest"),
        (b"[]", "application/json", 400, "BadRequest"),
        (b'"x"', "application/json", 400, "BadRequest"),
        (b"[" * 100_000, "application/json", 400, "BadRequest"),
        (b'{"metadata": 3}', "application/json", 400, "BadRequest"),
        (b'{"metadata": {"name": 3}}', "application/json", 400, "BadRequest"),
        (b'{"metadata": {"name": "a", "labels": {"x": 1}}}', "application/json", 400, "BadRequest"),
        (b'{"metadata": {"name": "a", "labels": 1}}', "application/json", 400, "BadRequest"),
        (b'{"metadata": {"name": "a", "ownerReferences": [{}]}}', "application/json", 422, "Invalid"),
        (b'{"metadata": {}}', "application/json", 422, "Invalid"),
        (b'{"metadata": {"name": "../a"}}', "application/json", 422, "Invalid"),
        (b'{"metadata": {"name": "A"}}', "application/json", 422, "Invalid"),
        (b'{"metadata": {"name": "a", "namespace": "other"}}', "application/json", 400, "BadRequest"),
        (b'{"kind": "Secret", "metadata": {"name": "a"}}', "application/json", 400, "BadRequest"),
        (b'{"metadata": {"name": "a", "resourceVersion": "1"}}', "application/json", 400, "BadRequest"),
        (b"x" * (BODY_LIMIT + 1), "application/json", 413, "RequestEntityTooLarge"),
        (b"{}", "text/html", 415, "UnsupportedMediaType"),
        (b"k8s\x00", "application/vnd.kubernetes.protobuf", 415, "UnsupportedMediaType"),
        (b"a: [", "application/yaml", 400, "BadRequest"),
        (b"a: &a [1]\nb: *a", "application/yaml", 400, "BadRequest"),
    ],
)
async def test_bad_bodies_are_refused_with_a_status(hub, body, content_type, code, reason):
    response = await hub.raw("POST", CONFIGS, body, content_type=content_type)
    status = json.loads(response.body)
    assert (response.status, status["kind"], status["code"], status["reason"]) == (code, "Status", code, reason)


@pytest.mark.parametrize(
    ("kind", "body", "code"),
    [
        ("merge-patch+json", [], 400),
        ("merge-patch+json", {"metadata": {"name": "other"}}, 400),
        ("merge-patch+json", {"metadata": {"uid": "other"}}, 409),
        ("json-patch+json", {}, 400),
        ("json-patch+json", [{"op": "add", "path": "/data/x", "value": "y"}] * 10_001, 413),
        ("json-patch+json", [{"op": "copy", "from": "", "path": f"/x{n}"} for n in range(40)], 413),
        ("json-patch+json", [{"op": "odd", "path": "/a"}], 422),
        ("json-patch+json", [{"op": "remove", "path": "/none"}], 422),
        ("json-patch+json", [{"op": "replace", "path": "", "value": 3}], 400),
        ("strategic-merge-patch+json", {"metadata": {"ownerReferences": [{}]}}, 400),
        ("json", {}, 415),
    ],
)
async def test_bad_patches_are_refused(hub, kind, body, code):
    await hub("POST", CONFIGS, {"metadata": {"name": "one"}}, expect=201)
    await hub.patch(f"{CONFIGS}/one", body, kind, expect=code)


@pytest.mark.parametrize("query", [{"dryRun": "Some"}, {"fieldValidation": "Odd"}, {"fieldManager": "x" * 129}])
async def test_bad_options_are_refused(hub, query):
    await hub("POST", CONFIGS, {"metadata": {"name": "one"}}, expect=422, **query)


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("POST", f"{CONFIGS}/one", 405),
        ("PUT", CONFIGS, 405),
        ("OPTIONS", CONFIGS, 405),
        ("POST", "/api/v1/configmaps", 405),
        ("POST", "/apis", 403),
        ("DELETE", "/version", 405),
    ],
)
async def test_methods_that_make_no_sense_are_refused(hub, method, path, code):
    caller = hub if code == 405 else hub.at("root", hub.sandbox.add_user("x"))
    expected = 405 if path == "/apis" else code
    assert (await caller.raw(method, path, {})).status == expected


async def test_yaml_is_accepted(hub):
    body = b"metadata:\n  name: one\ndata:\n  a: b\n"
    made = await hub("POST", CONFIGS, body, content_type="application/yaml", expect=201)
    assert made["data"] == {"a": "b"}


async def test_apply_creates_changes_and_conflicts_over_http(hub):
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"a": "1"}}
    made = await hub.apply(f"{CONFIGS}/one", body, expect=201)
    assert made["metadata"]["managedFields"][0]["fieldsV1"] == {"f:data": {"f:a": {}}}
    again = await hub.apply(f"{CONFIGS}/one", body)
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    other = {**body, "data": {"a": "2"}}
    status = await hub.apply(f"{CONFIGS}/one", other, "somebody", expect=409)
    assert status["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "tester"', "field": ".data.a"}
    ]
    forced = await hub.apply(f"{CONFIGS}/one", other, "somebody", force="true")
    assert forced["data"] == {"a": "2"}
    await hub.patch(f"{CONFIGS}/one", body, "apply-patch+yaml", expect=422)
    managed = {**body, "metadata": {"name": "one", "managedFields": [{}]}}
    await hub.apply(f"{CONFIGS}/one", managed, expect=400)
    stale = {**other, "metadata": {"name": "one", "resourceVersion": "1"}}
    await hub.apply(f"{CONFIGS}/one", stale, "somebody", expect=409)


async def test_status_is_applied_by_itself(target):
    path = "/apis/apps/v1/namespaces/default/deployments"
    kind = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
    spec = {"selector": {}, "template": {"spec": {"containers": []}}}
    await target.apply(f"{path}/web/status", {**kind, "status": {"replicas": 1}}, expect=404)
    await target.apply(f"{path}/web", {**kind, "spec": spec}, expect=201)
    made = await target.apply(f"{path}/web/status", {**kind, "spec": {"x": 1}, "status": {"replicas": 1}}, "s")
    assert (made["status"], "x" in made["spec"]) == ({"replicas": 1}, False)
    entries = {entry["manager"]: entry for entry in made["metadata"]["managedFields"]}
    assert entries["s"]["subresource"] == "status"
    kept = await target.apply(f"{path}/web", {**kind, "spec": {**spec, "replicas": 3}})
    assert kept["status"] == {"replicas": 1}


async def test_protobuf_bodies_of_kubectl_are_read(hub):
    name = b"\x0a\x05team2"
    unknown = b"\x0a\x0f\x0a\x02v1\x12\x09Namespace\x12" + bytes([len(name) + 2]) + b"\x0a" + bytes([len(name)]) + name
    body = b"k8s\x00" + unknown
    made = await hub("POST", "/api/v1/namespaces", body, content_type="application/vnd.kubernetes.protobuf", expect=201)
    assert made["metadata"]["name"] == "team2"


@given(st.binary(max_size=60))
def test_garbage_in_protobuf_is_an_error_and_nothing_worse(content):
    try:
        protobuf.decode(protobuf.MAGIC + content)
    except ValueError:
        return
    raise AssertionError("garbage was accepted")


@pytest.mark.parametrize("probe", ["healthz", "readyz", "livez"])
async def test_health_needs_no_token(sandbox, probe):
    for path in (f"/{probe}", f"/clusters/root/{probe}"):
        assert (await sandbox.handle(Request("GET", path))).body == b"ok"


async def test_aggregated_discovery_lists_what_the_target_serves():
    sandbox = Sandbox()
    cluster, token = sandbox.add_target(
        "old", lacks=("batch/v1", "policy", "ingresses.networking.k8s.io", "networkpolicies.networking.k8s.io")
    )
    headers = {"authorization": f"Bearer {token}", "accept": AGGREGATED}
    response = await sandbox.handle(Request("GET", f"/clusters/{cluster.name}/apis", headers=headers))
    assert "as=APIGroupDiscoveryList" in response.content_type
    groups = {group["metadata"]["name"]: group for group in json.loads(response.body)["items"]}
    assert not {"batch", "policy", "networking.k8s.io"} & set(groups)
    deployments = next(r for r in groups["apps"]["versions"][0]["resources"] if r["resource"] == "deployments")
    assert deployments["scope"] == "Namespaced"
    assert {s["subresource"] for s in deployments["subresources"]} == {"status", "scale"}
    core = await sandbox.handle(Request("GET", f"/clusters/{cluster.name}/api", headers=headers))
    names = {r["resource"] for r in json.loads(core.body)["items"][0]["versions"][0]["resources"]}
    assert {"pods", "nodes", "services", "configmaps"} <= names


async def test_legacy_discovery_and_openapi(target):
    assert (await target("GET", "/api"))["versions"] == ["v1"]
    assert "apps" in {group["name"] for group in (await target("GET", "/apis"))["groups"]}
    assert (await target("GET", "/apis/apps"))["preferredVersion"]["groupVersion"] == "apps/v1"
    listed = {r["name"]: r for r in (await target("GET", "/apis/apps/v1"))["resources"]}
    assert listed["deployments/scale"]["kind"] == "Scale"
    assert "pods" in {r["name"] for r in (await target("GET", "/api/v1"))["resources"]}
    index = await target("GET", "/openapi/v3")
    assert "hash=" in index["paths"]["apis/apps/v1"]["serverRelativeURL"]
    apps = await target("GET", "/openapi/v3/apis/apps/v1")
    assert "io.k8s.api.apps.v1.Deployment" in apps["components"]["schemas"]
    assert (await target("GET", "/openapi/v3/api/v1"))["openapi"] == "3.0.0"
    assert (await target("GET", "/version"))["major"] == "1"
    for path in ("/apis/none", "/apis/none/v1", "/openapi/v3/apis/none/v1"):
        await target("GET", path, expect=404)


async def test_built_in_tables_show_age_and_columns(target):
    accept = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    table = await target("GET", "/api/v1/namespaces/default", headers=accept, includeObject="None")
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Status", "Age"]
    assert table["rows"][0]["cells"][:2] == ["default", "Active"]
    assert "object" not in table["rows"][0]
    whole = await target("GET", "/api/v1/namespaces", headers=accept, includeObject="Object")
    assert whole["rows"][0]["object"]["kind"] == "Namespace"


async def test_an_unavailable_cluster_answers_503_and_drops_its_watches(hub, target):
    events = await target.watch("/api/v1/namespaces")
    await events.next()
    await events.next()
    outside = hub.at("")
    await outside("POST", "/sandbox/clusters/one/availability", {"available": False})
    with pytest.raises(StopAsyncIteration):
        await events.next()
    response = await target.raw("GET", "/readyz")
    assert (response.status, response.headers["retry-after"]) == (503, "1")
    await target("GET", CONFIGS, expect=503)
    await hub("GET", CONFIGS)
    await outside("POST", "/sandbox/clusters/target:one/availability", {"available": True})
    await target("GET", CONFIGS)


async def test_the_control_api_makes_targets_and_tells_what_there_is(hub):
    outside = hub.at("")
    made = await outside(
        "POST", "/sandbox/clusters/two", {"lacks": ["batch/v1"], "nodes": 1, "capacity": {"cpu": "4"}}, expect=201
    )
    two = hub.at(made["name"], made["token"])
    nodes = (await two("GET", "/api/v1/nodes"))["items"]
    assert [node["status"]["allocatable"]["cpu"] for node in nodes] == ["4000m"]
    await two("GET", "/apis/apps/v1/deployments")
    await two("GET", "/apis/batch/v1/jobs", expect=404)
    await outside("POST", "/sandbox/clusters/two", expect=409)
    listed = await outside("GET", "/sandbox")
    assert {c["name"]: c["target"] for c in listed["clusters"]} == {"root": False, "target:two": True}


async def test_objects_are_put_as_they_were_with_another_version(hub):
    created = await hub("POST", CONFIGS, {"metadata": {"name": "kept"}, "data": {"a": "b"}}, expect=201)
    copied = {**created, "metadata": {**created["metadata"], "name": "copied", "uid": "of-its-own"}}
    items = [{"cluster": "root", "object": copied}]
    (version,) = (await hub.at("")("POST", "/sandbox/objects", {"items": items}, expect=201))["versions"]
    copied["metadata"]["resourceVersion"] = version
    assert await hub("GET", f"{CONFIGS}/copied") == copied


async def test_of_objects_that_cannot_all_be_put_none_is(hub):
    created = await hub("POST", CONFIGS, {"metadata": {"name": "kept"}}, expect=201)
    copied = {**created, "metadata": {**created["metadata"], "name": "copied", "uid": "of-its-own"}}
    items = [{"cluster": "root", "object": copied}, {"cluster": "root", "object": {**copied, "kind": "Odd"}}]
    await hub.at("")("POST", "/sandbox/objects", {"items": items}, expect=404)
    await hub("GET", f"{CONFIGS}/copied", expect=404)


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("GET", "/sandbox/none", None, 404),
        ("POST", "/sandbox/clusters/x", {"nodes": "many"}, 400),
        ("POST", "/sandbox/clusters/x", {"nodes": -1}, 400),
        ("POST", "/sandbox/clusters/x", {"capacity": {"cpu": "lots"}}, 400),
        ("POST", "/sandbox/clusters/none/availability", {"available": True}, 404),
        ("POST", "/sandbox/clusters/root/availability", {"available": "no"}, 400),
        ("POST", "/sandbox/clusters/root/availability", {}, 400),
        ("POST", "/sandbox/objects", {"items": [{"cluster": "root"}]}, 400),
        ("POST", "/sandbox/objects", {"items": [{"cluster": "root", "object": {"kind": "Secret"}}]}, 400),
        ("POST", "/sandbox/objects", {"items": [{"cluster": "none", "object": {"metadata": {"uid": "1"}}}]}, 404),
    ],
)
async def test_the_control_api_refuses_what_it_does_not_know(hub, method, path, body, code):
    await hub.at("")(method, path, body, expect=code)


async def test_the_control_api_is_for_administrators(hub):
    token = hub.sandbox.add_user("alice", ("team",))
    await hub.at("", token)("GET", "/sandbox", expect=403)
    await hub.at("", "forged")("GET", "/sandbox", expect=401)


async def test_an_unexpected_error_is_a_status_too(hub, caplog, monkeypatch):
    def broken(*_args, **_more):
        raise ZeroDivisionError

    monkeypatch.setattr(hub.sandbox.store, "get", broken)
    status = await hub("GET", f"{CONFIGS}/one", expect=500)
    assert status["reason"] == "InternalError"
    assert "ZeroDivisionError" in caplog.text
