"""The virtual workspace of an export, as kcp has it: what it shows of consumers, by claims, and on shards."""

import pytest

from tests.unit.sandbox.exports import (
    ACCEPTED,
    ALL_WIDGETS,
    BINDINGS,
    CONFIGS,
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
    within,
)


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
