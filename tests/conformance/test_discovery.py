"""What a server says it serves: versions, groups, resources, schemas; the new way and the old one."""

import msgspec
import pytest

from shared.kube.apis import discover
from shared.kube.client import Client
from tests.conformance.api import Api
from tests.conformance.widgets import GROUP

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


async def read(client: Client, path: str, accept: str = "application/json", **params) -> dict:
    return msgspec.json.decode(await client.request("GET", path, accept=accept, params=params))


def by(items: list[dict], field: str) -> dict[str, dict]:
    return {each[field]: each for each in items}


async def test_a_server_says_its_version(api: Api):
    found = await read(api.admin, "/version")
    assert found["major"] == "1"
    assert found["gitVersion"].startswith(f"v1.{found['minor'].rstrip('+')}")


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz"])
async def test_a_server_says_that_it_is_well(api: Api, path):
    assert await api.admin.request("GET", path, accept="*/*") == b"ok"


async def test_the_core_group_has_its_versions(api: Api):
    found = await read(api.admin, "/api")
    assert (found["kind"], found["versions"]) == ("APIVersions", ["v1"])


async def test_groups_are_listed_with_versions_in_order_of_preference(api: Api):
    found = await read(api.admin, "/apis")
    assert found["kind"] == "APIGroupList"
    mine = by(found["groups"], "name")[GROUP]
    assert [each["groupVersion"] for each in mine["versions"]] == [f"{GROUP}/v1", f"{GROUP}/v1beta1"]
    assert mine["preferredVersion"] == {"groupVersion": f"{GROUP}/v1", "version": "v1"}
    alone = await read(api.admin, f"/apis/{GROUP}")
    assert (alone["kind"], alone["versions"]) == ("APIGroup", mine["versions"])


async def test_resources_of_a_version_are_listed_with_their_verbs_and_names(api: Api):
    found = await read(api.admin, f"/apis/{GROUP}/v1")
    assert (found["kind"], found["groupVersion"]) == ("APIResourceList", f"{GROUP}/v1")
    resources = by(found["resources"], "name")
    widgets = resources["widgets"]
    assert (widgets["kind"], widgets["singularName"], widgets["namespaced"]) == ("Widget", "widget", True)
    assert (widgets["shortNames"], widgets["categories"]) == (["wd"], ["conformance"])
    assert set(widgets["verbs"]) == {
        "create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"
    }  # fmt: skip
    assert set(resources["widgets/status"]["verbs"]) == {"get", "patch", "update"}
    scale = resources["widgets/scale"]
    assert (scale["kind"], scale["group"], scale["version"]) == ("Scale", "autoscaling", "v1")


async def test_the_core_resources_are_listed(api: Api):
    resources = by((await read(api.admin, "/api/v1"))["resources"], "name")
    for name, kind, namespaced in (("configmaps", "ConfigMap", True), ("namespaces", "Namespace", False)):
        assert (resources[name]["kind"], resources[name]["namespaced"]) == (kind, namespaced)
    assert resources["configmaps"]["shortNames"] == ["cm"]


@pytest.mark.parametrize(("path", "group", "plural"), [("/api", "", "configmaps"), ("/apis", GROUP, "widgets")])
async def test_all_is_told_at_once_to_those_who_ask_for_it(api: Api, path, group, plural):
    found = await read(api.admin, path, AGGREGATED)
    assert (found["kind"], found["apiVersion"]) == ("APIGroupDiscoveryList", "apidiscovery.k8s.io/v2")
    groups = {each["metadata"].get("name", ""): each for each in found["items"]}
    version = groups[group]["versions"][0]
    assert version["freshness"] == "Current"
    resource = by(version["resources"], "resource")[plural]
    assert resource["scope"] == "Namespaced"
    assert {"get", "list", "watch"} <= set(resource["verbs"])
    if group:
        assert [each["version"] for each in groups[group]["versions"]] == ["v1", "v1beta1"]
        subresources = by(resource["subresources"], "subresource")
        assert subresources["status"]["responseKind"]["kind"] == "Widget"
        assert subresources["scale"]["responseKind"]["kind"] == "Scale"


async def test_those_who_know_only_the_old_way_get_that(api: Api):
    found = await read(api.admin, "/apis", "application/json;g=apidiscovery.k8s.io;v=v9;as=Nothing,application/json")
    assert found["kind"] == "APIGroupList"


async def test_schemas_are_published_per_version_with_their_kinds(api: Api):
    index = await read(api.admin, "/openapi/v3")
    assert f"/openapi/v3/apis/{GROUP}/v1" in index["paths"][f"apis/{GROUP}/v1"]["serverRelativeURL"]
    document = await read(api.admin, f"/openapi/v3/apis/{GROUP}/v1")
    assert document["openapi"].startswith("3.0")
    kinds = {
        (kind["group"], kind["version"], kind["kind"]): schema
        for schema in document["components"]["schemas"].values()
        for kind in schema.get("x-kubernetes-group-version-kind", ())
    }
    schema = kinds[GROUP, "v1", "Widget"]
    assert schema["description"] == "A widget, for tests."
    spec = schema["properties"]["spec"]["properties"]
    assert spec["listeners"]["x-kubernetes-list-map-keys"] == ["port", "protocol"]
    assert spec["size"]["default"] == 1
    operations = document["paths"][f"/apis/{GROUP}/v1/namespaces/{{namespace}}/widgets/{{name}}"]
    assert {"get", "put", "patch", "delete"} <= operations.keys()
    assert operations["patch"]["x-kubernetes-group-version-kind"]["kind"] == "Widget"
    names = {each.get("name") for each in operations["patch"]["parameters"]}
    assert {"dryRun", "fieldManager", "fieldValidation", "force"} <= names


async def test_schemas_of_the_core_group_are_published(api: Api):
    document = await read(api.admin, "/openapi/v3/api/v1")
    named = document["components"]["schemas"]["io.k8s.api.core.v1.ConfigMap"]
    assert {"kind": "ConfigMap", "group": "", "version": "v1"} in named["x-kubernetes-group-version-kind"]


async def test_our_own_discovery_reads_it(api: Api):
    served = await discover(api.admin)
    (found,) = [each for each in served.kinds if each.group == GROUP]
    assert (found.resource, found.kind, found.versions, found.namespaced) == (
        "widgets",
        "Widget",
        ("v1", "v1beta1"),
        True,
    )
    assert not served.broken
