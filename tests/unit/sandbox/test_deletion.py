"""Finalizers, owner references, namespaces, preconditions."""

import pytest

CONFIGS = "/api/v1/namespaces/default/configmaps"


async def make(api, name, *, owners=(), finalizers=(), path=CONFIGS):
    references = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": o["metadata"]["name"], "uid": o["metadata"]["uid"]}
        for o in owners
    ]
    metadata = {"name": name, "finalizers": list(finalizers), "ownerReferences": references}
    return await api("POST", path, {"metadata": metadata}, expect=201)


async def names(api, path=CONFIGS):
    return [item["metadata"]["name"] for item in (await api("GET", path))["items"]]


async def test_finalizers_hold_an_object_until_they_are_gone(hub):
    await make(hub, "one", finalizers=["example.com/hold"])
    marked = await hub("DELETE", f"{CONFIGS}/one")
    assert marked["metadata"]["deletionTimestamp"]
    again = await hub("DELETE", f"{CONFIGS}/one")
    assert again["metadata"]["resourceVersion"] == marked["metadata"]["resourceVersion"]
    await hub.patch(f"{CONFIGS}/one", {"data": {"still": "here"}})
    await hub.patch(f"{CONFIGS}/one", {"metadata": {"finalizers": None}})
    await hub("GET", f"{CONFIGS}/one", expect=404)


@pytest.mark.parametrize("precondition", [{"uid": "other"}, {"resourceVersion": "1"}])
async def test_preconditions_that_fail_conflict(hub, precondition):
    await make(hub, "one")
    status = await hub("DELETE", f"{CONFIGS}/one", {"preconditions": precondition}, expect=409)
    assert "in the precondition" in status["message"]


async def test_dependents_go_with_their_last_owner(hub):
    first, second = await make(hub, "first"), await make(hub, "second")
    child = await make(hub, "child", owners=[first, second])
    await make(hub, "grandchild", owners=[child])
    await hub("DELETE", f"{CONFIGS}/first")
    assert await names(hub) == ["child", "grandchild", "second"]
    await hub("DELETE", f"{CONFIGS}/second", {"propagationPolicy": "Background"})
    assert await names(hub) == []


async def test_orphaned_dependents_stay(hub):
    owner = await make(hub, "owner")
    await make(hub, "child", owners=[owner])
    await hub("DELETE", f"{CONFIGS}/owner", propagationPolicy="Orphan")
    child = await hub("GET", f"{CONFIGS}/child")
    assert not child["metadata"].get("ownerReferences")


async def test_foreground_deletion_waits_for_the_dependents(hub):
    owner = await make(hub, "owner")
    await make(hub, "child", owners=[owner], finalizers=["example.com/hold"])
    marked = await hub("DELETE", f"{CONFIGS}/owner", propagationPolicy="Foreground")
    assert marked["metadata"]["finalizers"] == ["foregroundDeletion"]
    assert await names(hub) == ["child", "owner"]
    await hub.patch(f"{CONFIGS}/child", {"metadata": {"finalizers": None}})
    assert await names(hub) == []


async def test_foreground_deletion_without_dependents_is_at_once(hub):
    await make(hub, "owner")
    assert (await hub("DELETE", f"{CONFIGS}/owner", propagationPolicy="Foreground"))["status"] == "Success"
    assert await names(hub) == []


async def test_a_namespace_takes_its_content_along(hub):
    await hub("POST", "/api/v1/namespaces", {"metadata": {"name": "gone"}}, expect=201)
    inside = CONFIGS.replace("default", "gone")
    await make(hub, "one", path=inside)
    await make(hub, "held", path=inside, finalizers=["example.com/hold"])
    events = await hub.watch("/api/v1/configmaps", fieldSelector="metadata.namespace=gone")
    assert await events.names(2) == [("ADDED", "held"), ("ADDED", "one")]
    marked = await hub("DELETE", "/api/v1/namespaces/gone")
    assert marked["status"]["phase"] == "Terminating"
    assert await names(hub, inside) == ["held"]
    status = await hub("POST", inside, {"metadata": {"name": "new"}}, expect=403)
    assert "because it is being terminated" in status["message"]
    await hub.patch(f"{inside}/held", {"metadata": {"finalizers": []}})
    await hub("GET", "/api/v1/namespaces/gone", expect=404)
    await events.close()


async def test_a_collection_is_deleted_by_selector(hub):
    await make(hub, "one")
    await hub("POST", CONFIGS, {"metadata": {"name": "two", "labels": {"app": "x"}}}, expect=201)
    deleted = await hub("DELETE", CONFIGS, labelSelector="app=x")
    assert [item["metadata"]["name"] for item in deleted["items"]] == ["two"]
    assert await names(hub) == ["one"]


async def test_a_dry_run_and_an_unknown_policy_delete_nothing(hub):
    await make(hub, "one")
    await hub("DELETE", f"{CONFIGS}/one", dryRun="All")
    await hub("DELETE", f"{CONFIGS}/one", {"propagationPolicy": "Sideways"}, expect=422)
    await hub("DELETE", f"{CONFIGS}/none", expect=404)
    assert await names(hub) == ["one"]
