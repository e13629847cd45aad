"""APIs across workspaces, as kcp has them: schemas, exports, bindings, claims, and the export's virtual workspace."""

from pathlib import Path

import pytest
import yaml

from tests.support.manifests import condition

APIS = "/apis/apis.kcp.io"
SCHEMAS, EXPORTS, BINDINGS, SLICES = (
    f"{APIS}/v1alpha1/apiresourceschemas",
    f"{APIS}/v1alpha2/apiexports",
    f"{APIS}/v1alpha2/apibindings",
    f"{APIS}/v1alpha1/apiexportendpointslices",
)
WIDGETS = "/apis/example.io/v1/namespaces/default/widgets"
ALL_WIDGETS = "/apis/example.io/v1/widgets"
CONFIGS = "/api/v1/namespaces/default/configmaps"
WORKSPACES = "/apis/tenancy.kcp.io/v1alpha1/workspaces"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
CLAIM = {"group": "", "resource": "configmaps", "verbs": ["get", "list", "watch"]}
ACCEPTED = {**CLAIM, "state": "Accepted", "selector": {"matchAll": True}}
DEPLOY = Path(__file__).parents[3] / "deploy" / "kcp"


def schema(prefix="v1", **properties):
    content = {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": content}
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget"}
    spec = {"group": "example.io", "scope": "Namespaced", "names": names, "versions": [version]}
    return {"metadata": {"name": f"{prefix}.widgets.example.io"}, "spec": spec}


def export(*claims, prefix="v1"):
    resource = {"group": "example.io", "name": "widgets", "schema": f"{prefix}.widgets.example.io"}
    spec = {"resources": [{**resource, "storage": {"crd": {}}}], "permissionClaims": list(claims)}
    return {"metadata": {"name": "things"}, "spec": spec}


def binding(*claims, path="root:provider", name="things"):
    reference = {"export": {"path": path, "name": name}}
    return {"metadata": {"name": "things"}, "spec": {"reference": reference, "permissionClaims": list(claims)}}


@pytest.fixture
async def provider(hub):
    """A workspace with a schema and an export that claims ConfigMaps; `one` and `two` beside it consume nothing yet."""
    for name in ("provider", "one", "two"):
        await hub("POST", WORKSPACES, {"metadata": {"name": name}}, expect=201)
    at = hub.at("root:provider")
    await at("POST", SCHEMAS, schema(size={"type": "integer"}), expect=201)
    await at("POST", EXPORTS, export(CLAIM), expect=201)
    return at


@pytest.fixture
def virtual(provider):
    """The export's virtual workspace, across all consumers."""
    return provider.at("*").below(f"/services/apiexport/{id_of(provider, 'root:provider')}/things")


def id_of(api, path):
    """The id of the logical cluster of a workspace."""
    return api.sandbox.clusters.find(path).id


def within(api, cluster, export="things", host="root:provider"):
    """A workspace as the virtual workspace of an export shows it."""
    return api.at(id_of(api, cluster)).below(f"/services/apiexport/{id_of(api, host)}/{export}")


async def bind(api, *claims):
    await api("POST", BINDINGS, binding(*claims), expect=201)
    return (await api("GET", f"{BINDINGS}/things"))["status"]


def names(found):
    return [item["metadata"]["name"] for item in found["items"]]


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


async def test_the_endpoint_slice_names_the_virtual_workspace_once_there_is_a_consumer(hub, provider):
    found = await provider("GET", f"{SLICES}/things")
    assert found["spec"] == {"export": {"path": "root:provider", "name": "things"}}
    assert found["status"]["endpoints"] == []
    await provider("POST", SLICES, {"metadata": {"name": "mine"}, "spec": {"export": {"name": "things"}}}, expect=201)
    await bind(hub.at("root:one"))
    host = hub.sandbox.clusters.find("root:provider").id
    for name in ("things", "mine"):
        found = await provider("GET", f"{SLICES}/{name}")
        assert found["status"]["endpoints"] == [{"url": f"http://sandbox.test/services/apiexport/{host}/things"}]
    await hub("DELETE", f"{WORKSPACES}/one")
    assert (await provider("GET", f"{SLICES}/things"))["status"]["endpoints"] == []


async def test_an_export_may_do_without_its_own_slice(provider):
    body = export() | {"metadata": {"name": "x", "annotations": {"apiexports.apis.kcp.io/skip-endpointslice": ""}}}
    await provider("POST", EXPORTS, body, expect=201)
    await provider("GET", f"{SLICES}/x", expect=404)


async def test_the_virtual_workspace_lists_across_consumers(hub, provider, virtual):
    for name in ("one", "two"):
        await bind(hub.at(f"root:{name}"))
        await hub.at(f"root:{name}")("POST", WIDGETS, {"metadata": {"name": f"in-{name}"}}, expect=201)
    found = await virtual("GET", ALL_WIDGETS)
    assert sorted(names(found)) == ["in-one", "in-two"]
    where = {item["metadata"]["name"]: item["metadata"]["annotations"]["kcp.io/cluster"] for item in found["items"]}
    assert where == {f"in-{name}": hub.sandbox.clusters.find(f"root:{name}").id for name in ("one", "two")}
    pages, token = [], ""
    while True:
        page = await virtual("GET", ALL_WIDGETS, limit=1, continue_=token)
        pages += names(page)
        if not (token := page["metadata"].get("continue", "")):
            break
    assert pages == names(found)
    assert names(await virtual("GET", BINDINGS)) == ["things", "things"]


async def test_the_virtual_workspace_watches_across_consumers_also_later_ones(hub, provider, virtual):
    await bind(hub.at("root:one"))
    version = (await virtual("GET", ALL_WIDGETS))["metadata"]["resourceVersion"]
    events = await virtual.watch(ALL_WIDGETS, resourceVersion=version)
    await hub.at("root:one")("POST", WIDGETS, {"metadata": {"name": "in-one"}}, expect=201)
    assert await events.names(1) == [("ADDED", "in-one")]
    await bind(hub.at("root:two"))
    await hub.at("root:two")("POST", WIDGETS, {"metadata": {"name": "in-two"}}, expect=201)
    assert await events.names(1) == [("ADDED", "in-two")]
    await hub("DELETE", f"{WORKSPACES}/two")
    assert await events.names(1) == [("DELETED", "in-two")]
    await events.close()
    replayed = await virtual.watch(ALL_WIDGETS, resourceVersion=version)
    assert await replayed.names(1) == [("ADDED", "in-one")]


async def test_claims_show_what_the_consumer_accepted_and_no_more(hub, provider, virtual):
    one, two = hub.at("root:one"), hub.at("root:two")
    for name, api in (("one", one), ("two", two)):
        await api("POST", CONFIGS, {"metadata": {"name": f"in-{name}"}}, expect=201)
    await bind(one, ACCEPTED)
    await bind(two, {**ACCEPTED, "state": "Rejected"})
    assert names(await virtual("GET", "/api/v1/configmaps")) == ["in-one"]
    events = await virtual.watch("/api/v1/configmaps")
    assert await events.names(1) == [("ADDED", "in-one")]
    await two.patch(f"{BINDINGS}/things", {"spec": {"permissionClaims": [ACCEPTED]}})
    kind, status = await events.next()
    assert (kind, status["reason"]) == ("ERROR", "Expired")
    assert sorted(names(await virtual("GET", "/api/v1/configmaps"))) == ["in-one", "in-two"]
    await virtual("GET", "/api/v1/secrets", expect=404)


@pytest.mark.parametrize(
    ("method", "path", "claims", "code"),
    [
        ("GET", f"{CONFIGS}/c", [ACCEPTED], 200),
        ("DELETE", f"{CONFIGS}/c", [ACCEPTED], 403),
        ("GET", f"{CONFIGS}/c", [{**ACCEPTED, "verbs": ["*"]}], 403),
        ("GET", CONFIGS, [{**ACCEPTED, "verbs": ["get"]}], 403),
        ("GET", CONFIGS, [], 403),
        ("GET", "/api/v1/secrets", [ACCEPTED], 403),
        ("DELETE", f"{WIDGETS}/w", [], 200),
        ("GET", f"{BINDINGS}/things", [], 200),
        ("GET", f"{BINDINGS}/other", [], 404),
        ("DELETE", f"{BINDINGS}/things", [], 403),
        ("GET", "/apis", [], 200),
    ],
)
async def test_in_one_consumer_the_export_may_do_what_both_sides_agreed(hub, provider, method, path, claims, code):
    one = hub.at("root:one")
    await provider("POST", EXPORTS, export() | {"metadata": {"name": "other"}}, expect=201)
    await bind(one, *claims)
    await one("POST", WIDGETS, {"metadata": {"name": "w"}}, expect=201)
    await one("POST", CONFIGS, {"metadata": {"name": "c"}}, expect=201)
    await within(hub, "root:one")(method, path, expect=code)


async def test_writes_by_the_virtual_workspace_arrive_in_the_consumer(hub, provider):
    one = hub.at("root:one")
    await bind(one)
    there = within(hub, "root:one")
    await there("POST", WIDGETS, {"metadata": {"name": "w"}}, expect=201)
    await there.apply(
        f"{WIDGETS}/w",
        {"apiVersion": "example.io/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 1}},
    )
    assert (await one("GET", f"{WIDGETS}/w"))["metadata"]["name"] == "w"


@pytest.mark.parametrize(
    ("where", "path", "code", "said"),
    [
        ("{provider}/things/clusters/{two}", WIDGETS, 403, "cannot list resource"),
        ("{provider}/things/clusters/none", WIDGETS, 403, "cannot list resource"),
        ("{provider}/things/clusters/root:one", WIDGETS, 403, "not resolved to a valid virtual workspace"),
        ("root:provider/things/clusters/*", ALL_WIDGETS, 500, "API export not found"),
        ("{provider}/none/clusters/*", ALL_WIDGETS, 500, "API export not found"),
        ("none/things/clusters/*", ALL_WIDGETS, 403, "access denied"),
        ("{provider}/things/other/*", ALL_WIDGETS, 403, "not resolved to a valid virtual workspace"),
        ("{provider}/things", "", 403, "not resolved to a valid virtual workspace"),
        ("", "", 403, "not resolved to a valid virtual workspace"),
    ],
)
async def test_there_is_no_virtual_workspace_elsewhere(hub, provider, where, path, code, said):
    await bind(hub.at("root:one"))
    where = where.format(provider=id_of(hub, "root:provider"), two=id_of(hub, "root:two"))
    assert said in (await hub.at("")("GET", f"/services/apiexport/{where}{path}", expect=code))["message"]


@pytest.fixture
async def sharded(sandbox, hub):
    """Two workspaces, each on a shard of its own, that consume an export of the root."""
    sandbox.clusters.shards = ("root", "blue", "green")
    await hub("POST", SCHEMAS, schema(), expect=201)
    await hub("POST", EXPORTS, export(), expect=201)
    for shard in ("blue", "green"):
        location = {"location": {"selector": {"matchLabels": {"name": shard}}}}
        await hub("POST", WORKSPACES, {"metadata": {"name": f"in-{shard}"}, "spec": location}, expect=201)
    return hub


async def endpoints(hub):
    return [each["url"] for each in (await hub("GET", f"{SLICES}/things"))["status"]["endpoints"]]


async def test_each_shard_that_has_a_consumer_has_an_endpoint_that_shows_its_consumers_alone(sharded):
    below = "services/apiexport/root/things"
    blue, green = (f"http://sandbox.test/shards/{shard}/{below}" for shard in ("blue", "green"))
    assert await endpoints(sharded) == []
    for shard, urls in (("green", [green]), ("blue", [blue, green])):
        one = sharded.at(f"root:in-{shard}")
        await one("POST", BINDINGS, binding(path="root"), expect=201)
        await one("POST", WIDGETS, {"metadata": {"name": shard}}, expect=201)
        assert await endpoints(sharded) == urls
    for shard in ("blue", "green"):
        there = sharded.at("*").below(f"/shards/{shard}/{below}")
        assert names(await there("GET", ALL_WIDGETS)) == [shard]
        for other, code in (("blue", 200), ("green", 200)):
            one = there.at(id_of(sharded, f"root:in-{other}")).below(there.prefix)
            await one("GET", WIDGETS, expect=code if other == shard else 403)
    await sharded.at("*").below(f"/shards/red/{below}")("GET", ALL_WIDGETS, expect=404)
    assert names(await sharded.at("*").below(f"/{below}")("GET", ALL_WIDGETS)) == []
    await sharded.at("root:in-green")("DELETE", f"{BINDINGS}/things")
    assert await endpoints(sharded) == [blue]


async def test_a_shard_that_is_lost_answers_nothing_until_it_is_back(sharded):
    for shard in ("blue", "green"):
        await sharded.at(f"root:in-{shard}")("POST", BINDINGS, binding(path="root"), expect=201)
    blue, green = (
        sharded.at("*").below(f"/shards/{each}/services/apiexport/root/things") for each in ("blue", "green")
    )
    await sharded.at("root:in-blue")("POST", WIDGETS, {"metadata": {"name": "a"}}, expect=201)
    events = await blue.watch(ALL_WIDGETS)
    assert await events.names(1) == [("ADDED", "a")]
    sharded.sandbox.set_available("shard:blue", available=False)
    with pytest.raises(StopAsyncIteration):
        await events.next()
    await blue("GET", ALL_WIDGETS, expect=503)
    await sharded.at("root:in-blue")("GET", WIDGETS, expect=503)
    await green("GET", ALL_WIDGETS)
    sharded.sandbox.set_available("shard:blue", available=True)
    await blue("GET", ALL_WIDGETS)
    await sharded.at("root:in-blue")("GET", WIDGETS)


async def test_kinds_that_a_workspace_made_itself_are_not_shown_though_its_binding_waits(hub, provider, virtual):
    one = hub.at("root:one")
    openapi = {"openAPIV3Schema": {"type": "object"}}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": openapi}]
    made = {"metadata": {"name": "widgets.example.io"}, "spec": {**schema()["spec"], "versions": versions}}
    await one("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", made, expect=201)
    await one("POST", WIDGETS, {"metadata": {"name": "forged"}}, expect=201)
    assert (await bind(one, ACCEPTED))["phase"] == "Binding"
    assert names(await virtual("GET", BINDINGS)) == ["things"]
    assert names(await virtual("GET", ALL_WIDGETS)) == []
    await within(hub, "root:one")("GET", WIDGETS, expect=403)


async def test_a_claim_is_of_kinds_of_that_identity_alone(hub, provider):
    """Both workspaces have widgets: one by the export whose identity is claimed, the other by its own definition."""
    identity = (await provider("GET", f"{EXPORTS}/things"))["status"]["identityHash"]
    claim = {"group": "example.io", "resource": "widgets", "identityHash": identity, "verbs": ["list", "watch"]}
    looking = {"metadata": {"name": "looking"}, "spec": {"permissionClaims": [claim]}}
    await provider("POST", EXPORTS, looking, expect=201)
    openapi = {"openAPIV3Schema": {"type": "object"}}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": openapi}]
    made = {"metadata": {"name": "widgets.example.io"}, "spec": {**schema()["spec"], "versions": versions}}
    await hub.at("root:two")("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", made, expect=201)
    await bind(hub.at("root:one"))
    for name in ("one", "two"):
        accepted = binding({**claim, "state": "Accepted", "selector": {"matchAll": True}}, name="looking")
        await hub.at(f"root:{name}")("POST", BINDINGS, accepted | {"metadata": {"name": "looking"}}, expect=201)
        await hub.at(f"root:{name}")("POST", WIDGETS, {"metadata": {"name": f"in-{name}"}}, expect=201)
    across = hub.at("*").below(f"/services/apiexport/{id_of(hub, 'root:provider')}/looking")
    assert names(await across("GET", ALL_WIDGETS)) == ["in-one"]


async def test_a_workspace_that_is_made_again_has_another_id(hub, provider):
    before = id_of(hub, "root:one")
    await hub("DELETE", f"{WORKSPACES}/one")
    await hub("POST", WORKSPACES, {"metadata": {"name": "one"}}, expect=201)
    assert id_of(hub, "root:one") != before


async def test_across_consumers_there_is_only_list_and_watch(hub, provider, virtual):
    await bind(hub.at("root:one"))
    await virtual("POST", WIDGETS, {"metadata": {"name": "w"}}, expect=404)
    await virtual("DELETE", WIDGETS, expect=404)
    await virtual("GET", f"{WIDGETS}/w", expect=404)


async def test_the_virtual_workspace_takes_the_right_to_the_exports_content(hub, provider):
    await bind(hub.at("root:one"))
    bob = within(hub.at("root", hub.sandbox.add_user("bob")), "root:one")
    there = bob.at("*").below(bob.prefix)
    await there("GET", ALL_WIDGETS, expect=403)
    rules = [
        {"verbs": ["access"], "nonResourceURLs": ["/"]},
        {"verbs": ["list"], "apiGroups": ["apis.kcp.io"], "resources": ["apiexports/content"]},
    ]
    await provider("POST", f"{RBAC}/clusterroles", {"metadata": {"name": "c"}, "rules": rules}, expect=201)
    subjects = [{"kind": "User", "name": "bob"}]
    body = {"metadata": {"name": "c"}, "roleRef": {"kind": "ClusterRole", "name": "c"}, "subjects": subjects}
    await provider("POST", f"{RBAC}/clusterrolebindings", body, expect=201)
    await there("GET", ALL_WIDGETS)
    await there("GET", ALL_WIDGETS, watch=1, expect=403)
    await bob("GET", ALL_WIDGETS)


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
