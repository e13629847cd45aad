"""Create, read, update, patch and delete, over `handle`."""

from functools import partial

import pytest

from tests.support import manifests

CONFIGS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"

deployment = partial(manifests.deployment, namespace="", replicas=2)


def config(name="one", **data):
    return manifests.obj("ConfigMap", name=name, namespace="", data=data)


async def test_a_created_object_gets_identity_and_is_read_back(hub):
    made = await hub("POST", CONFIGS, config(a="1"), expect=201)
    assert made["metadata"]["uid"]
    assert made["metadata"]["creationTimestamp"].endswith("Z")
    assert made["metadata"]["namespace"] == "default"
    assert await hub("GET", f"{CONFIGS}/one") == made


async def test_generate_name_makes_distinct_names(hub):
    body = {"metadata": {"generateName": "job-"}}
    names = {(await hub("POST", CONFIGS, body, expect=201))["metadata"]["name"] for _ in range(5)}
    assert len(names) == 5
    assert all(name.startswith("job-") for name in names)


async def test_creating_twice_is_already_exists(hub):
    await hub("POST", CONFIGS, config(), expect=201)
    status = await hub("POST", CONFIGS, config(), expect=409)
    assert status["reason"] == "AlreadyExists"
    assert status["message"] == 'configmaps "one" already exists'


async def test_an_update_with_a_stale_version_conflicts(hub):
    made = await hub("POST", CONFIGS, config(a="1"), expect=201)
    await hub("PUT", f"{CONFIGS}/one", {**made, "data": {"a": "2"}})
    status = await hub("PUT", f"{CONFIGS}/one", {**made, "data": {"a": "3"}}, expect=409)
    assert status["reason"] == "Conflict"
    assert "the object has been modified" in status["message"]


async def test_an_update_that_changes_nothing_makes_no_version(hub):
    made = await hub("POST", CONFIGS, config(a="1"), expect=201)
    assert await hub("PUT", f"{CONFIGS}/one", made) == made


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/api/v1/namespaces/default/configmaps/none", 404),
        ("/api/v1/namespaces/default/pods", 404),
        ("/apis/none/v1/things", 404),
        ("/api/v1/namespaces/../../secrets", 404),
        ("/api/v1/namespaces/default/configmaps/one/status", 404),
        ("/nothing", 404),
    ],
)
async def test_what_is_not_there_is_not_found(hub, path, code):
    assert (await hub("GET", path, expect=code))["kind"] == "Status"


async def test_nothing_is_created_in_a_namespace_that_does_not_exist(hub):
    status = await hub("POST", "/api/v1/namespaces/none/configmaps", config(), expect=404)
    assert status["message"] == 'namespaces "none" not found'


async def test_generation_counts_changes_of_the_spec_alone(target):
    made = await target("POST", DEPLOYMENTS, deployment(), expect=201)
    assert made["metadata"]["generation"] == 1
    labelled = await target.patch(f"{DEPLOYMENTS}/web", {"metadata": {"labels": {"x": "y"}}})
    assert labelled["metadata"]["generation"] == 1
    scaled = await target.patch(f"{DEPLOYMENTS}/web", {"spec": {"replicas": 5}})
    assert scaled["metadata"]["generation"] == 2


async def test_status_and_spec_are_written_apart(target):
    made = await target("POST", DEPLOYMENTS, {**deployment(), "status": {"replicas": 9}}, expect=201)
    assert "status" not in made
    body = {**made, "status": {"replicas": 2}, "spec": {**made["spec"], "replicas": 7}}
    written = await target("PUT", f"{DEPLOYMENTS}/web/status", body)
    assert written["status"] == {"replicas": 2}
    assert written["spec"]["replicas"] == 2
    assert written["metadata"]["generation"] == 1
    again = await target("PUT", f"{DEPLOYMENTS}/web", {**written, "status": {"replicas": 8}})
    assert again["status"] == {"replicas": 2}


async def test_scale_is_read_and_written(target):
    await target("POST", DEPLOYMENTS, deployment(), expect=201)
    assert (await target("GET", f"{DEPLOYMENTS}/web/scale"))["spec"]["replicas"] == 2
    await target.patch(f"{DEPLOYMENTS}/web/scale", {"spec": {"replicas": 6}})
    assert (await target("GET", f"{DEPLOYMENTS}/web"))["spec"]["replicas"] == 6


async def test_json_patch_and_strategic_merge(target):
    await target("POST", DEPLOYMENTS, deployment(), expect=201)
    operations = [{"op": "replace", "path": "/spec/replicas", "value": 4}]
    assert (await target.patch(f"{DEPLOYMENTS}/web", operations, "json-patch+json"))["spec"]["replicas"] == 4
    sidecar = {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "x"}]}}}}
    merged = await target.patch(f"{DEPLOYMENTS}/web", sidecar, "strategic-merge-patch+json")
    assert [c["name"] for c in merged["spec"]["template"]["spec"]["containers"]] == ["side", "main"]
    failed = [{"op": "test", "path": "/spec/replicas", "value": 1}]
    await target.patch(f"{DEPLOYMENTS}/web", failed, "json-patch+json", expect=422)


async def test_a_workload_without_template_is_invalid(target):
    body = deployment()
    del body["spec"]["template"]
    status = await target("POST", DEPLOYMENTS, body, expect=422)
    assert status["reason"] == "Invalid"
    assert status["details"]["causes"][0]["field"] == "spec.template"


@pytest.mark.parametrize(
    ("containers", "message"),
    [
        ([{"name": "a"}, {"name": "a"}], 'Duplicate value: {"name":"a"}'),
        ([{"name": "a", "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}]}], None),
        ([{"name": "a", "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "TCP"}]}], None),
    ],
)
async def test_items_of_keyed_lists_are_there_once(target, containers, message):
    body = deployment()
    body["spec"]["template"]["spec"]["containers"] = containers
    made = await target("POST", DEPLOYMENTS, body, expect=422 if message else 201)
    assert message is None or made["details"]["causes"][0]["message"] == message


async def test_dry_run_writes_nothing(hub):
    await hub("POST", CONFIGS, config(), expect=201, dryRun="All")
    await hub("GET", f"{CONFIGS}/one", expect=404)


@pytest.mark.parametrize(
    "metadata",
    [
        {"labels": {"no spaces": "x"}},
        {"labels": {"a": "x" * 64}},
        {"labels": {"A.B/c": "x"}},
        {"annotations": {"/a": "x"}},
        {"finalizers": ["not ok"]},
    ],
)
async def test_names_in_metadata_are_checked(hub, metadata):
    status = await hub("POST", CONFIGS, {"metadata": {"name": "a", **metadata}}, expect=422)
    assert f"metadata.{next(iter(metadata))}: Invalid value" in status["message"]


async def test_what_is_immutable_stays(hub):
    await hub("POST", CONFIGS, {"metadata": {"name": "a"}, "data": {"k": "v"}, "immutable": True}, expect=201)
    for body in ({"data": {"k": "w"}}, {"immutable": None}):
        assert "immutable" in (await hub.patch(f"{CONFIGS}/a", body, expect=422))["message"]
    await hub.patch(f"{CONFIGS}/a", {"metadata": {"labels": {"a": "b"}}})


@pytest.mark.parametrize("path", [CONFIGS, f"{CONFIGS}/a"])
async def test_metadata_alone_can_be_asked_for(hub, path):
    await hub("POST", CONFIGS, {"metadata": {"name": "a"}, "data": {"k": "v"}}, expect=201)
    accept = {"accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"}
    found = await hub("GET", path, headers=accept)
    (item,) = found.get("items", [found])
    assert (item["kind"], set(item)) == ("PartialObjectMetadata", {"kind", "apiVersion", "metadata"})


async def test_what_no_client_takes_is_not_acceptable(hub):
    await hub("GET", CONFIGS, headers={"accept": "image/png"}, expect=406)


@pytest.mark.parametrize("body", [b'{"metadata": {"name": "a"}, "data": {"k": "v", "k": "w"}}'])
async def test_strict_validation_refuses_fields_that_are_there_twice(hub, body):
    status = await hub("POST", CONFIGS, body, fieldValidation="Strict", expect=400)
    assert status["message"] == 'strict decoding error: duplicate field "data.k"'
    await hub("POST", CONFIGS, body, expect=201)


async def test_pages_from_before_are_gone_once_the_server_forgets(hub):
    for name in "ab":
        await hub("POST", CONFIGS, {"metadata": {"name": name}}, expect=201)
    page = await hub("GET", CONFIGS, limit=1)
    await hub("POST", CONFIGS, {"metadata": {"name": "c"}}, expect=201)
    await hub.at("")("POST", "/sandbox/forget")
    await hub("GET", CONFIGS, limit=1, continue_=page["metadata"]["continue"], expect=410)
