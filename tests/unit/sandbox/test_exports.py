"""APIs across workspaces, as kcp has them: schemas, exports, bindings."""

from pathlib import Path

import pytest
import yaml

from tests.support.manifests import condition
from tests.unit.sandbox.exports import (
    ACCEPTED,
    ALL_WIDGETS,
    BINDINGS,
    CLAIM,
    EXPORTS,
    RBAC,
    SCHEMAS,
    SLICES,
    WIDGETS,
    WORKSPACES,
    bind,
    binding,
    export,
    id_of,
    names,
    schema,
)

DEPLOY = Path(__file__).parents[3] / "deploy" / "kcp"


async def test_a_binding_serves_what_the_export_offers(hub, provider):
    one = hub.at("root:one")
    await one("GET", WIDGETS, expect=404)
    status = await bind(one, ACCEPTED)
    identity = (await provider("GET", f"{EXPORTS}/things"))["status"]["identityHash"]
    made = await provider("GET", f"{SCHEMAS}/v1.widgets.example.io")
    (bound,) = status["boundResources"]
    assert status["phase"] == "Bound"
    assert bound["schema"] == {
        "name": "v1.widgets.example.io",
        "UID": made["metadata"]["uid"],
        "identityHash": identity,
    }
    assert (bound["group"], bound["resource"], bound["storageVersions"]) == ("example.io", "widgets", ["v1"])
    assert status["appliedPermissionClaims"] == [{**CLAIM, "selector": {"matchAll": True}}]
    assert status["exportPermissionClaims"] == [CLAIM]
    assert status["apiExportClusterName"] == provider.sandbox.clusters.find("root:provider").id
    assert {each["status"] for each in status["conditions"]} == {"True"}
    await one("POST", WIDGETS, {"metadata": {"name": "a"}, "spec": {"size": "big"}}, expect=422)
    await one("POST", WIDGETS, {"metadata": {"name": "a"}, "spec": {"size": 3}}, expect=201)
    await hub.at("root:two")("GET", WIDGETS, expect=404)


@pytest.mark.parametrize("first", ["binding", "schema", "export"])
async def test_a_binding_waits_for_what_is_not_there_yet(hub, first):
    """Only within one workspace: elsewhere a missing export is forbidden."""
    steps = {
        "schema": (SCHEMAS, schema()),
        "export": (EXPORTS, export()),
        "binding": (BINDINGS, binding(path="")),
    }
    order = [first, *(step for step in steps if step != first)]
    for step in order:
        await hub("POST", steps[step][0], steps[step][1], expect=201)
        found = await hub.raw("GET", f"{BINDINGS}/things")
        if found.status == 200 and step != order[-1]:
            status = (await hub("GET", f"{BINDINGS}/things"))["status"]
            assert status["phase"] == "Binding"
            assert condition(status, "APIExportValid")["status"] == "False"
    status = (await hub("GET", f"{BINDINGS}/things"))["status"]
    assert status["phase"] == "Bound"
    await hub("GET", WIDGETS)


async def test_a_name_that_is_served_already_is_a_conflict(hub, provider):
    one = hub.at("root:one")
    definition = {**schema()["spec"], "versions": []}
    openapi = {"openAPIV3Schema": {"type": "object"}}
    definition["versions"] = [{"name": "v1", "served": True, "storage": True, "schema": openapi}]
    crd = {"metadata": {"name": "widgets.example.io"}, "spec": definition}
    await one("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd, expect=201)
    status = await bind(one)
    assert status["phase"] == "Binding"
    assert condition(status, "BindingUpToDate")["reason"] == "NamingConflicts"
    await one("GET", WIDGETS)
    await one("DELETE", f"{BINDINGS}/things")
    await one("GET", WIDGETS)


async def test_binding_takes_the_verb_bind_in_the_exports_workspace(hub, provider):
    rules = [
        {"verbs": ["access"], "nonResourceURLs": ["/"]},
        {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    ]
    subjects = {"subjects": [{"kind": "User", "name": "alice"}]}

    async def grant(api, rules):
        await api("POST", f"{RBAC}/clusterroles", {"metadata": {"name": "r"}, "rules": rules}, expect=201)
        body = {"metadata": {"name": "r"}, "roleRef": {"kind": "ClusterRole", "name": "r"}, **subjects}
        await api("POST", f"{RBAC}/clusterrolebindings", body, expect=201)

    await grant(hub.at("root:one"), rules)
    alice = hub.at("root:one", hub.sandbox.add_user("alice"))
    refused = await alice("POST", BINDINGS, binding(), expect=403)
    missing = await alice("POST", BINDINGS, binding(path="root:nowhere"), expect=403)
    assert "no permission to bind to export root:provider:things" in refused["message"]
    assert refused["message"].replace("provider", "nowhere") == missing["message"]
    bind_rule = {"verbs": ["bind"], "apiGroups": ["apis.kcp.io"], "resources": ["apiexports"]}
    await grant(provider, [rules[0], {**bind_rule, "resourceNames": ["things"]}])
    await alice("POST", BINDINGS, binding(), expect=201)
    await alice.at("root:provider")("GET", EXPORTS, expect=403)


async def test_unbinding_takes_the_objects_along(hub, provider):
    one = hub.at("root:one")
    await bind(one)
    await one("POST", WIDGETS, {"metadata": {"name": "a"}}, expect=201)
    events = await one.watch(WIDGETS)
    assert await events.names(1) == [("ADDED", "a")]
    await one("DELETE", f"{BINDINGS}/things")
    assert await events.names(1) == [("DELETED", "a")]
    await one("GET", WIDGETS, expect=404)
    await bind(one)
    assert names(await one("GET", WIDGETS)) == []


async def test_what_is_bound_stays_when_the_export_goes(hub, provider, virtual):
    one = hub.at("root:one")
    await bind(one)
    await provider("DELETE", f"{EXPORTS}/things")
    status = (await one("GET", f"{BINDINGS}/things"))["status"]
    assert status["phase"] == "Bound"
    assert condition(status, "APIExportValid")["reason"] == "APIExportNotFound"
    await one("POST", WIDGETS, {"metadata": {"name": "a"}}, expect=201)
    await virtual("GET", ALL_WIDGETS, expect=500)


async def test_an_exports_new_schema_reaches_its_consumers(hub, provider):
    one = hub.at("root:one")
    await bind(one)
    await provider("POST", SCHEMAS, schema("v2", size={"type": "string"}), expect=201)
    await provider.patch(f"{EXPORTS}/things", {"spec": export(prefix="v2")["spec"]})
    await one("POST", WIDGETS, {"metadata": {"name": "a"}, "spec": {"size": "big"}}, expect=201)
    (bound,) = (await one("GET", f"{BINDINGS}/things"))["status"]["boundResources"]
    assert bound["schema"]["name"] == "v2.widgets.example.io"
    await provider.patch(f"{EXPORTS}/things", {"spec": {"resources": []}})
    await one("GET", WIDGETS, expect=404)


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        (SCHEMAS, {**schema(), "metadata": {"name": "widgets.example.io"}}, "metadata.name must be <prefix>.widgets"),
        (SCHEMAS, {"metadata": {"name": "v1.widgets.example.io"}, "spec": {"group": "x"}}, "KeyError"),
        (SCHEMAS, {"metadata": {"name": "v1.widgets.example.io"}}, "Required value"),
        (EXPORTS, export() | {"spec": {"resources": [{"name": "x", "group": "y", "schema": "z"}]}}, "must end in .x.y"),
        (EXPORTS, export() | {"spec": {"resources": [{"name": "x"}]}}, "Required value"),
        (BINDINGS, {"metadata": {"name": "x"}, "spec": {"reference": {}}}, "Required value"),
        (BINDINGS, binding({**ACCEPTED, "state": "Maybe"}), "Unsupported value"),
        (BINDINGS, binding({**ACCEPTED, "selector": {}}), "Required value"),
        (SLICES, {"metadata": {"name": "x"}, "spec": {}}, "Required value"),
    ],
)
async def test_what_cannot_be_is_refused(hub, path, body, said):
    assert said in (await hub("POST", path, body, expect=422))["message"]


async def test_schemas_and_references_are_immutable(hub, provider):
    path = f"{SCHEMAS}/v1.widgets.example.io"
    assert "immutable" in (await provider.patch(path, {"spec": {"scope": "Cluster"}}, expect=403))["message"]
    await provider.patch(path, {"metadata": {"labels": {"a": "b"}}})
    one = hub.at("root:one")
    await bind(one)
    other = {"spec": {"reference": {"export": {"name": "other"}}}}
    assert "immutable" in (await one.patch(f"{BINDINGS}/things", other, expect=422))["message"]


async def test_a_workspace_that_is_made_again_has_another_id(hub, provider):
    before = id_of(hub, "root:one")
    await hub("DELETE", f"{WORKSPACES}/one")
    await hub("POST", WORKSPACES, {"metadata": {"name": "one"}}, expect=201)
    assert id_of(hub, "root:one") != before


async def test_our_own_schemas_and_export_load_and_bind(hub):
    for name in ("moorage", "team"):
        await hub("POST", WORKSPACES, {"metadata": {"name": name}}, expect=201)
    moorage, team = hub.at("root:moorage"), hub.at("root:team")
    for file in sorted(DEPLOY.glob("apiresourceschema-*.yaml")):
        await moorage("POST", SCHEMAS, yaml.safe_load(file.read_text()), expect=201)
    own = yaml.safe_load((DEPLOY / "apiexport.yaml").read_text())
    await moorage("POST", EXPORTS, own, expect=201)
    accept = [
        {**claim, "state": "Accepted", "selector": {"matchAll": True}} for claim in own["spec"]["permissionClaims"]
    ]
    body = binding(*accept, path="root:moorage", name=own["metadata"]["name"])
    await team("POST", BINDINGS, body, expect=201)
    status = (await team("GET", f"{BINDINGS}/things"))["status"]
    assert status["phase"] == "Bound"
    assert len(status["boundResources"]) == len(own["spec"]["resources"])
    assert len(status["appliedPermissionClaims"]) == len(accept)
    target = {"metadata": {"name": "east"}, "spec": {"agent": {}}}
    await team("POST", "/apis/placement.moorage.io/v1alpha1/synctargets", target, expect=201)
    across = hub.at("*").below(f"/services/apiexport/{id_of(hub, 'root:moorage')}/{own['metadata']['name']}")
    assert names(await across("GET", "/apis/placement.moorage.io/v1alpha1/synctargets")) == ["east"]
    assert names(await across("GET", "/api/v1/namespaces")) == ["default"]
