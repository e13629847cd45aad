"""Discovery against a real HTTP server: aggregated, legacy, and with broken groups."""

import pytest

from shared.kube.apis import RestMapper, ServedKind, UnknownKind, discover
from shared.kube.errors import ApiError, Unreachable
from shared.kube.resources import Resource


def aggregated(**groups):
    """group=dict(version=[(resource, kind, scope)] or None where it is stale)."""
    return {
        "kind": "APIGroupDiscoveryList",
        "items": [
            {
                "metadata": {"name": group} if group != "core" else {},
                "versions": [
                    {
                        "version": version,
                        "freshness": "Stale" if resources is None else "Current",
                        "resources": [
                            {"resource": name, "responseKind": {"kind": kind}, "scope": scope, "verbs": ["get"]}
                            for name, kind, scope in resources or ()
                        ],
                    }
                    for version, resources in versions.items()
                ],
            }
            for group, versions in groups.items()
        ],
    }


DEPLOYMENTS = ("deployments", "Deployment", "Namespaced")
NODES = ("nodes", "Node", "Cluster")


async def test_aggregated_discovery_takes_two_requests(server, reply, client):
    core = aggregated(core={"v1": [NODES]})
    core["items"][0]["metadata"] = {"name": None}
    core["items"][0]["versions"][0]["resources"].append({"resource": "bindings", "verbs": []})
    server.on("GET", "/api", reply(core))
    apps = {"v1beta1": [DEPLOYMENTS], "v1": [DEPLOYMENTS], "v2alpha1": [("widgets", "Widget", "Cluster")]}
    server.on("GET", "/apis", reply(aggregated(apps=apps, metrics={"v1": None})))
    served = await discover(client)
    assert served.kinds == [
        ServedKind("", "nodes", "Node", ("v1",), False, ("get",)),
        ServedKind("apps", "deployments", "Deployment", ("v1", "v1beta1"), True, ("get",)),
        ServedKind("apps", "widgets", "Widget", ("v2alpha1",), False, ("get",)),
    ]
    assert served.broken == {"metrics": "v1 is not available"}
    assert len(server.seen) == 2
    assert {seen.headers["Accept"].split(";")[1] for seen in server.seen} == {"g=apidiscovery.k8s.io"}


async def test_legacy_discovery_asks_per_group_and_a_broken_group_costs_that_group_alone(server, reply, client):
    server.on("GET", "/api", reply({"kind": "APIVersions", "versions": ["v1"]}))
    groups = [
        {"name": "apps", "versions": [{"version": "v1"}]},
        {"name": "metrics.k8s.io", "versions": [{"version": "v1"}]},
        {"name": "garbled", "versions": [{"version": "v1"}]},
    ]
    server.on("GET", "/apis", reply({"kind": "APIGroupList", "groups": groups}))
    resources = [
        {"name": "pods", "kind": "Pod", "namespaced": True, "verbs": ["list"]},
        {"name": "pods/log", "kind": "Pod"},
    ]
    server.on("GET", "/api/v1", reply({"resources": resources}))
    server.on("GET", "/apis/apps/v1", reply({"resources": [{"name": "deployments", "kind": "Deployment"}]}))
    server.on("GET", "/apis/metrics.k8s.io/v1", reply(b"service unavailable", 503))
    server.on("GET", "/apis/garbled/v1", reply(b"<html>"))
    served = await discover(client)
    assert served.kinds == [
        ServedKind("", "pods", "Pod", ("v1",), True, ("list",)),
        ServedKind("apps", "deployments", "Deployment", ("v1",), False, ()),
    ]
    assert served.broken["metrics.k8s.io"] == "v1: 503 the answer is no Kubernetes Status"
    assert "something unexpected" in served.broken["garbled"]


async def test_where_only_the_core_group_is_aggregated_it_is_asked_for_what_came_by_an_export_too(
    server, reply, client
):
    server.on("GET", "/api", reply(aggregated(core={"v1": [NODES]})))
    groups = [{"name": "apps", "versions": [{"version": "v1"}]}]
    server.on("GET", "/apis", reply({"kind": "APIGroupList", "groups": groups}))
    services = {"name": "services", "kind": "Service", "namespaced": True, "verbs": ["list"]}
    nodes = {"name": "nodes", "kind": "Node", "verbs": ["get"]}
    server.on("GET", "/api/v1", reply({"resources": [nodes, services]}))
    server.on("GET", "/apis/apps/v1", reply({"resources": [{"name": "deployments", "kind": "Deployment"}]}))
    served = await discover(client)
    assert served.kinds == [
        ServedKind("", "nodes", "Node", ("v1",), False, ("get",)),
        ServedKind("", "services", "Service", ("v1",), True, ("list",)),
        ServedKind("apps", "deployments", "Deployment", ("v1",), False, ()),
    ]


async def test_a_server_without_core_group_is_discovered(server, reply, client):
    server.on("GET", "/apis", reply(aggregated(apps={"v1": [DEPLOYMENTS]})))
    assert [found.kind for found in (await discover(client)).kinds] == ["Deployment"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [(({}, 403), ApiError), ((b"[]",), Unreachable), (({"reason": "NotFound"}, 404), ApiError)],
)
async def test_a_server_that_answers_nothing_useful_is_an_error(server, reply, client, answer, error):
    server.on("GET", "/api", reply(*answer))
    server.on("GET", "/apis", reply(*answer))
    with pytest.raises(error):
        await discover(client)


async def test_the_mapper_looks_again_for_what_it_does_not_know_but_not_too_often(server, reply, client):
    now = 0.0
    server.on("GET", "/apis", reply(aggregated(apps={"v1": [DEPLOYMENTS]})), reply(aggregated(x={"v1": [NODES]})))
    mapper = RestMapper(client, every=10, clock=lambda: now)
    expected = Resource("apps", "v1", "deployments", True, "Deployment")
    assert await mapper.resource("apps/v1", "Deployment") == expected
    with pytest.raises(UnknownKind, match="Node in x is not served"):
        await mapper.resource("x/v1", "Node")
    with pytest.raises(UnknownKind, match="Pod in the core group is not served"):
        await mapper.resource("v1", "Pod")
    with pytest.raises(UnknownKind, match="Deployment is served in apps as v1, not v1beta1"):
        await mapper.resource("apps/v1beta1", "Deployment")
    assert server.count("GET", "/apis") == 1
    now = 10.0
    assert (await mapper.resource("x/v1", "Node")).namespaced is False
    with pytest.raises(UnknownKind):  # it went away with the second look
        await mapper.resource("apps/v1", "Deployment")
    assert server.count("GET", "/apis") == 2


async def test_the_mapper_does_not_look_up_what_is_known(server, reply, client):
    server.on("GET", "/apis", reply(aggregated(x={"v1": [NODES]})))
    mapper = RestMapper(client, known=[ServedKind("apps", "deployments", "Deployment", ("v1",), True)])
    assert await mapper.resource("apps/v1", "Deployment") == Resource("apps", "v1", "deployments", True, "Deployment")
    assert server.count("GET", "/apis") == 0
    assert (await mapper.resource("x/v1", "Node")).plural == "nodes"
    assert server.count("GET", "/apis") == 1


async def test_the_mapper_keeps_what_it_knew_of_a_group_that_broke(server, reply, client):
    known = aggregated(apps={"v1": [DEPLOYMENTS]})
    server.on("GET", "/apis", reply(known), reply(aggregated(apps={"v1": None})))
    mapper = RestMapper(client)
    await mapper.refresh()
    assert (await mapper.refresh()).broken == {"apps": "v1 is not available"}
    assert (await mapper.resource("apps/v1", "Deployment")).plural == "deployments"


async def test_the_mapper_is_bounded_and_says_so(server, reply, client, caplog):
    server.on("GET", "/apis", reply(aggregated(x={"v1": [(f"r{n}", f"K{n}", "Cluster") for n in range(3)]})))
    mapper = RestMapper(client, limit=2)
    await mapper.refresh()
    assert "serves 3 kinds: only 2 are kept" in caplog.text
    with pytest.raises(UnknownKind):
        await mapper.resource("x/v1", "K2")
