"""What kcp has beyond Kubernetes: workspaces, their isolation, and APIs offered in one and used in another."""

from typing import Any

import pytest

from shared.hub.resources import WORKSPACES
from shared.kube.apis import discover
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.resources import CONFIGMAPS, NAMESPACES, SUBJECTACCESSREVIEWS
from tests.conformance.api import Api, document, refusal, until, watching
from tests.conformance.backends import KCP, STRANGER
from tests.conformance.exports import BINDINGS, EXPORTS, LOGICAL_CLUSTERS, SCHEMAS, THINGS, Tree, bind, offer
from tests.conformance.test_access import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, reference, subject
from tests.support.manifests import definition

pytestmark = pytest.mark.parametrize("backend", ["sandbox", KCP], indirect=True)


async def test_a_workspace_becomes_ready_and_says_where_it_is(tree: Tree):
    found = await tree.at().get(WORKSPACES, "consumer")
    assert "/clusters/" in found["spec"]["URL"]
    inside = tree.admin.at(found["spec"]["URL"])

    async def ready() -> dict[str, Any] | None:  # it may be told of a moment after the Workspace
        (cluster,) = (await inside.list(LOGICAL_CLUSTERS)).items
        return cluster if cluster["status"]["phase"] == "Ready" else None

    cluster = await until(ready, "the logical cluster is ready")
    assert cluster["metadata"]["name"] == "cluster"
    assert cluster["metadata"]["annotations"]["kcp.io/path"] == f"{tree.path}:consumer"


async def test_a_workspace_is_reached_by_its_path_and_by_its_cluster(tree: Tree):
    cluster = (await tree.at().get(WORKSPACES, "consumer"))["spec"]["cluster"]
    await tree.at("consumer").create(NAMESPACES, document(NAMESPACES, "here"))
    found = await tree.admin.cluster(cluster).get(NAMESPACES, "here")
    assert found["metadata"]["annotations"]["kcp.io/cluster"] == cluster


async def test_workspaces_do_not_see_each_other(tree: Tree):
    for name in ("provider", "consumer"):
        await tree.at(name).create(NAMESPACES, document(NAMESPACES, "same"))
        await tree.at(name).create(CONFIGMAPS, {**document(CONFIGMAPS, "c", "same"), "data": {"in": name}})
    one, two = [await tree.at(name).get(CONFIGMAPS, "c", "same") for name in ("provider", "consumer")]
    assert (one["data"], two["data"]) == ({"in": "provider"}, {"in": "consumer"})
    assert one["metadata"]["uid"] != two["metadata"]["uid"]
    params = {"resourceVersion": (await tree.at("provider").list(CONFIGMAPS)).version, "timeoutSeconds": 1}
    async with watching(tree.at("provider"), CONFIGMAPS, **params) as events:
        await tree.at("consumer").merge_patch(CONFIGMAPS, "c", {"data": {"x": "y"}}, "same")
        assert await events.rest() == []


@pytest.mark.parametrize("below", ["nowhere", "nowhere:deeper"])
async def test_a_workspace_that_is_not_there_answers_that_it_is_not_by_its_path(api: Api, tree: Tree, below: str):
    """The same is answered of a Workspace in it, so that nobody takes that for the word of its parent."""
    async with Client(load_kubeconfig(api.backend.stranger)) as stranger:
        for client in (tree.at(below), stranger.cluster(f"{tree.path}:{below}")):
            for error in (await refusal(client.list(NAMESPACES)), await refusal(client.get(WORKSPACES, "deeper"))):
                assert (error.status, error.unknown_workspace, error.not_found) == (404, True, False)
                assert error.details == {
                    "name": f"{tree.path}:{below}",
                    "group": "tenancy.kcp.io",
                    "kind": "workspaces",
                }
                assert not error.absent("deeper")
    assert (await refusal(tree.admin.cluster("nosuchid").get(WORKSPACES, "deeper"))).forbidden


async def test_all_workspaces_at_once_are_for_nobody(tree: Tree):
    assert (await refusal(tree.admin.cluster("*").list(NAMESPACES))).status == 403


async def test_a_deleted_workspace_takes_all_below_it_along(tree: Tree):
    await tree.at("consumer").create(NAMESPACES, document(NAMESPACES, "here"))
    await tree.at().delete(WORKSPACES, "consumer")

    async def gone() -> bool:
        return not [each for each in (await tree.at().list(WORKSPACES)).items if each["metadata"]["name"] == "consumer"]

    await until(gone, "the workspace is gone")
    assert (await refusal(tree.at("consumer").list(NAMESPACES))).unknown_workspace


async def answers(client: Client) -> bool:
    """Whether it may list namespaces by now: authorizers read rules from caches."""
    try:
        await client.list(NAMESPACES)
    except ApiError as error:
        if not error.forbidden:
            raise
        return False
    return True


async def test_access_comes_before_any_right(api: Api, tree: Tree):
    consumer = tree.at("consumer")
    everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
    await consumer.create(CLUSTER_ROLES, document(CLUSTER_ROLES, "all", rules=[everything]))
    role = reference("ClusterRole", "all")
    await consumer.create(
        CLUSTER_ROLE_BINDINGS, document(CLUSTER_ROLE_BINDINGS, "b", roleRef=role, subjects=[subject()])
    )
    async with Client(load_kubeconfig(api.backend.stranger)) as client:
        stranger = client.cluster(f"{tree.path}:consumer")
        assert (await refusal(stranger.list(NAMESPACES))).status == 403
        access = {"verbs": ["access"], "nonResourceURLs": ["/"]}
        await consumer.create(CLUSTER_ROLES, document(CLUSTER_ROLES, "access", rules=[access]))
        role = reference("ClusterRole", "access")
        await consumer.create(
            CLUSTER_ROLE_BINDINGS, document(CLUSTER_ROLE_BINDINGS, "a", roleRef=role, subjects=[subject()])
        )
        await until(lambda: answers(stranger), "access is granted")


async def test_reviews_are_asked_of_the_workspace_that_they_are_about(tree: Tree):
    async def asks(name: str) -> bool:
        spec = {"user": STRANGER, "resourceAttributes": {"verb": "list", "resource": "namespaces"}}
        answer = await tree.at(name).create(SUBJECTACCESSREVIEWS, document(SUBJECTACCESSREVIEWS, spec=spec))
        return bool(answer["status"]["allowed"])

    rules = [
        {"verbs": ["access"], "nonResourceURLs": ["/"]},
        {"verbs": ["list"], "apiGroups": [""], "resources": ["namespaces"]},
    ]
    await tree.at("provider").create(CLUSTER_ROLES, document(CLUSTER_ROLES, "look", rules=rules))
    role = reference("ClusterRole", "look")
    binding = document(CLUSTER_ROLE_BINDINGS, "look", roleRef=role, subjects=[subject()])
    await tree.at("provider").create(CLUSTER_ROLE_BINDINGS, binding)
    await until(lambda: asks("provider"), "the right is granted")
    assert not await asks("consumer")


async def test_a_schema_is_for_good(tree: Tree):
    await offer(tree.at("provider"))
    name = f"v1.things.{THINGS.group}"
    error = await refusal(tree.at("provider").merge_patch(SCHEMAS, name, {"spec": {"scope": "Cluster"}}))
    assert error.forbidden


async def test_what_is_offered_in_one_workspace_is_served_where_it_is_bound(tree: Tree):
    await offer(tree.at("provider"))
    consumer = tree.at("consumer")
    assert (await refusal(consumer.list(THINGS))).status == 404
    found = await bind(tree)
    (served,) = found["status"]["boundResources"]
    assert (served["group"], served["resource"]) == (THINGS.group, "things")
    assert served["schema"]["identityHash"]
    await consumer.create(NAMESPACES, document(NAMESPACES, "here"))
    made = await consumer.create(THINGS, document(THINGS, "t", "here", spec={"a": "b", "odd": 1}))
    assert made["spec"] == {"a": "b"}
    assert (await refusal(tree.at("provider").list(THINGS))).status == 404


async def test_nobody_binds_what_he_may_not(api: Api, tree: Tree):
    await offer(tree.at("provider"))
    spec = {"reference": {"export": {"path": f"{tree.path}:nowhere", "name": "things"}}}
    error = await refusal(tree.at("consumer").create(BINDINGS, document(BINDINGS, "absent", spec=spec)))
    assert error.status == 403
    assert "no permission to bind" in error.message


async def test_the_end_of_a_binding_is_the_end_of_what_it_served(tree: Tree):
    await offer(tree.at("provider"))
    await bind(tree)
    consumer = tree.at("consumer")
    await consumer.delete(BINDINGS, "things")

    async def gone() -> bool:
        return (await refusal(consumer.list(THINGS))).not_found

    await until(gone, "things are not served")


PARTS = {"": "Part", "things.example.com": "Spare"}
"""Kinds that an export offers, by group: one of them in the core group, which kcp leaves out of `/api`."""


async def test_what_is_bound_is_discovered_that_of_the_core_group_too(tree: Tree):
    resources = []
    for group, kind in PARTS.items():
        plural = f"{kind.lower()}s"
        made = definition(group, kind, "v1")["spec"]
        versions = [{**each, "schema": each["schema"]["openAPIV3Schema"]} for each in made["versions"]]
        name = f"v1.{plural}.{group or 'core'}"
        await tree.at("provider").create(SCHEMAS, document(SCHEMAS, name, spec={**made, "versions": versions}))
        resources.append({"group": group, "name": plural, "schema": name, "storage": {"crd": {}}})
    await tree.at("provider").create(EXPORTS, document(EXPORTS, "things", spec={"resources": resources}))
    await bind(tree)

    async def found() -> bool:
        served = await discover(tree.at("consumer"))
        known = {(each.group, each.kind) for each in served.kinds}
        return not served.broken and known >= {*PARTS.items(), ("", "ConfigMap"), ("tenancy.kcp.io", "Workspace")}

    await until(found, "both kinds are discovered, and those that are built in")
