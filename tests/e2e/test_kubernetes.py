"""The pipeline on real Kubernetes: a plain hub without workspaces, three target clusters, workers with their rights."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from services import PIPELINE
from shared.broker.nats.server import NatsServer
from shared.hub.resources import BINDINGS, CLUSTER_REQUESTS, DECISIONS, PLACEMENTS, QUOTAS
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.quantity import parse_quantity
from shared.kube.resources import CLUSTERROLEBINDINGS, CLUSTERROLES, CONFIGMAPS, DEPLOYMENTS, EVENTS, SERVICES, Resource
from tests.e2e.entitling import SYSTEM, entitle, offer
from tests.e2e.system import until
from tests.support import apiserver, kubelets, perimeter, servers
from tests.support import kubectl as support
from tests.support.client import if_there
from tests.support.kubectl import cells
from tests.support.manifests import condition
from tests.support.process import process
from tests.support.worlds import NAMESPACE, deployment, placement

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.servers,
    pytest.mark.timeout(300),  # three API servers with their controllers and all workers are started at first
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("servers-kubernetes"),
]

OF_THE_HUB = ("controller", "discovery", "decision", "binding", "status", "intake")  # the others talk to NATS alone
REQUESTERS = """
users:
  - {user: alice, groups: [shop]}
  - {user: mallory}
"""
ACCOUNT = f"system:serviceaccount:{SYSTEM}:"
TARGETS = ("north", "south", "private")
REQUESTER = "placement.moorage.io/requester"
BRISK = {
    "MOORAGE_HUB": "kubernetes",
    "MOORAGE_LOG_FORMAT": "json",
    "MOORAGE_EVICTION_TOLERATION_SECONDS": "2",
    "MOORAGE_PROBE_INTERVAL_SECONDS": "1",
    "MOORAGE_LOST_AFTER_SECONDS": "2",
    "MOORAGE_RESYNC_SECONDS": "5",
    "MOORAGE_CAPACITY_INTERVAL_SECONDS": "5",
    "MOORAGE_PREEMPTION": "true",
}


class Hub:
    """The running system: `admin` and `alice` on the hub, a client per target, and the servers."""

    def __init__(self) -> None:
        self.admin: Client
        self.alice: Client
        self.targets: dict[str, Client] = {}
        self.servers: dict[str, apiserver.ApiServer] = {}
        self.nats = ""

    async def ask(self, user: str, name: str, folder: Path) -> tuple[int, str]:
        """Ask on the bus, as a user, for a placement of a Deployment: how the command ended, and what it said."""
        path = folder / f"{name}.json"
        path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [deployment(name), placement(name)]}))
        asking = ["moorage", "place", "-f", str(path), "--workspace", "", "--user", user, "--wait"]
        async with process(asking, {**os.environ, "MOORAGE_NATS_URL": self.nats}) as running:
            return await running.ends(), running.output

    async def place(self, name: str, **spec: Any) -> None:
        await self.alice.create(DEPLOYMENTS, deployment(name))
        await self.alice.create(PLACEMENTS, placement(name, **spec))

    async def status(self, name: str) -> dict[str, Any]:
        return (await self.alice.get(PLACEMENTS, name, NAMESPACE)).get("status") or {}

    async def ready(self, name: str) -> None:
        async def is_ready() -> bool:
            return (await self.status(name)).get("phase") == "Ready"

        await until(is_ready, f"{name} is Ready")

    async def chosen(self, name: str) -> list[str]:
        decision = await self.alice.get(DECISIONS, name, NAMESPACE)
        return [each["target"]["name"] for each in decision["status"].get("selected", ())]

    async def placed(self, name: str, resource: Resource = DEPLOYMENTS) -> list[str]:
        """The target clusters that have the object."""
        return [target for target, client in self.targets.items() if await exists(client, resource, name)]


async def exists(client: Client, resource: Resource, name: str) -> bool:
    return await if_there(client.get(resource, name, NAMESPACE)) is not None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    binaries = servers.find()
    if binaries is None:
        reason = f"no kube-apiserver in {servers.folder()}: make servers builds it"
        pytest.fail(reason) if os.environ.get("MOORAGE_REQUIRE_SERVERS") else pytest.skip(reason)
    folder = tmp_path_factory.mktemp("kubernetes")
    async with AsyncExitStack() as stack:
        running = stack.enter_context(apiserver.servers(binaries, folder))
        users = [("alice", ["shop"]), *((f"{ACCOUNT}{name}", ["system:serviceaccounts"]) for name in OF_THE_HUB)]
        server = await asyncio.to_thread(running.apiserver, "hub", users, controllers=apiserver.CONTROLLERS)
        found = Hub()
        found.servers["hub"] = server

        async def client(kubeconfig: Any) -> Client:
            return await stack.enter_async_context(Client(load_kubeconfig(kubeconfig), timeout=20))

        found.admin = await client(server.kubeconfigs[apiserver.ADMIN])
        found.alice = await client(server.kubeconfigs["alice"])
        install = ["moorage", "install", "kubernetes", "--kubeconfig", str(server.kubeconfigs[apiserver.ADMIN])]
        async with process(install, os.environ) as installing:
            assert await installing.ends() == 0, installing.output
        for name in TARGETS:
            collected = partial(running.apiserver, name, controllers=[apiserver.GARBAGE])
            found.servers[name] = await asyncio.to_thread(collected)
            kubeconfig = found.servers[name].kubeconfigs[apiserver.ADMIN]
            found.targets[name] = await client(kubeconfig)
            await kubelets.join(found.targets[name], f"{name}-0", cpu="8", memory="32Gi", pods="110")
            await stack.enter_async_context(kubelets.reporting(found.targets[name]))
            await offer(found.admin, name, kubeconfig.read_bytes())
        await entitle(found.admin)
        nats = await stack.enter_async_context(NatsServer(folder / "nats"))
        found.nats = nats.url
        (folder / "users.yaml").write_text(REQUESTERS)
        workers = []
        for name in PIPELINE:
            env = {**os.environ, **BRISK, **perimeter.ENVIRONMENT, "MOORAGE_NATS_URL": nats.url}
            env["MOORAGE_USERS_FILE"] = str(folder / "users.yaml")
            if name in OF_THE_HUB:
                env["MOORAGE_KUBECONFIG"] = str(server.kubeconfigs[f"{ACCOUNT}{name}"])
            workers.append(await stack.enter_async_context(process(["moorage", "worker", name], env)))
        for worker in workers:
            await worker.record(lambda record: record["message"] == "ready")
        yield found
        lines = [
            line for worker in workers for line in worker.lines if "mallory" not in line
        ]  # who is meant to be refused
        forbidden = [line for line in lines if "orbidden" in line]
        assert not forbidden, forbidden[:3]


async def test_a_placement_is_placed_where_its_requester_may_with_every_number_recorded(hub: Hub):
    await hub.place("web", targets={"count": {"min": 2}})
    await hub.ready("web")
    assert sorted(await hub.chosen("web")) == ["north", "south"]
    assert sorted(await hub.placed("web")) == ["north", "south"]
    decision = await hub.alice.get(DECISIONS, "web", NAMESPACE)
    for each in decision["status"]["selected"]:
        total = sum(part["weighted"] for part in each["breakdown"].values())
        assert total == pytest.approx(each["score"], abs=0.01)
    status = await hub.status("web")
    assert {each["type"] for each in status["conditions"]} >= {"Scheduled", "Applied", "Healthy", "Ready"}


async def test_a_request_on_the_bus_is_carried_out_as_who_the_subject_names(hub: Hub, tmp_path: Path):
    code, said = await hub.ask("alice", "asked", tmp_path)
    assert code == 0, said
    stamp = (await hub.alice.get(PLACEMENTS, "asked", NAMESPACE))["metadata"]["annotations"][REQUESTER]
    assert json.loads(stamp)["username"] == "alice"
    assert set(await hub.placed("asked")) <= {"north", "south"}


async def test_the_rbac_of_the_hub_refuses_who_may_not_place_there(hub: Hub, tmp_path: Path):
    code, said = await hub.ask("mallory", "unasked", tmp_path)
    assert code == 1
    assert 'User "mallory" cannot' in said
    assert await if_there(hub.admin.get(PLACEMENTS, "unasked", NAMESPACE)) is None


async def test_the_server_itself_records_who_asked_and_nobody_changes_it(hub: Hub):
    forged = placement("forged")
    forged["metadata"]["annotations"] = {REQUESTER: '{"username":"root","groups":["system:masters"]}'}
    made = await hub.alice.create(PLACEMENTS, forged)
    stamp = made["metadata"]["annotations"][REQUESTER]
    alice = {"username": "alice", "uid": "alice", "groups": ["shop", "system:authenticated"], "extra": {}}
    assert json.loads(stamp) == alice
    change = {"metadata": {"annotations": {REQUESTER: '{"username":"root","groups":[]}'}}}
    kept = await hub.admin.merge_patch(PLACEMENTS, "forged", change, NAMESPACE)
    assert kept["metadata"]["annotations"][REQUESTER] == stamp
    await hub.alice.delete(PLACEMENTS, "forged", NAMESPACE)


async def test_a_cluster_that_the_requester_may_not_use_is_none_for_it(hub: Hub):
    await hub.place("wide", targets={"count": {"min": 3}})

    async def refused() -> bool:
        return (await hub.status("wide")).get("phase") == "Unschedulable"

    await until(refused, "wide is Unschedulable")
    said = condition(await hub.status("wide"), "Scheduled")
    assert "may not use" in said["message"] or "not authorized" in said["message"], said["message"]

    async def told() -> list[dict[str, Any]]:
        events = (await hub.alice.list(EVENTS, NAMESPACE)).items
        return [each for each in events if each["involvedObject"]["name"] == "wide" and each["type"] == "Warning"]

    assert [each["message"] for each in await until(told, "an Event")] == [said["message"]]


async def test_what_is_missing_is_asked_for_until_it_is_not(hub: Hub):
    await hub.place("missing", targets={"count": {"min": 4}}, whenUnfulfilled="Request")

    async def request() -> dict[str, Any] | None:
        return await if_there(hub.admin.get(CLUSTER_REQUESTS, "missing", NAMESPACE))

    found = await until(request, "it is asked for")
    assert (found["spec"]["missing"]["targets"], found["spec"]["reason"]) == (2, "TooFewTargets")
    said = {"type": "Accepted", "status": "True", "reason": "Ordered", "message": ""}
    status = {"conditions": [{**said, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}
    path = (CLUSTER_REQUESTS, "missing", {"status": status}, NAMESPACE)
    assert (await hub.admin.merge_patch(*path, subresource="status"))["status"] == status
    await hub.alice.merge_patch(PLACEMENTS, "missing", {"spec": {"targets": {"count": {"min": 2}}}}, NAMESPACE)
    await until(request, "nothing is asked for", holds=lambda found: found is None)
    await hub.ready("missing")


async def test_a_change_is_rolled_out(hub: Hub):
    await hub.place("rolling")
    await hub.ready("rolling")
    (target,) = await hub.chosen("rolling")
    await hub.alice.merge_patch(DEPLOYMENTS, "rolling", {"spec": {"replicas": 3}}, NAMESPACE)

    async def rolled() -> bool:
        return (await hub.targets[target].get(DEPLOYMENTS, "rolling", NAMESPACE))["spec"]["replicas"] == 3

    await until(rolled, "three replicas in the target")
    await hub.ready("rolling")


async def test_what_a_real_server_defaults_and_allocates_is_left_alone(hub: Hub):
    """Services get addresses and Deployments defaults in the target: that is no drift, and nothing is written again."""
    await hub.alice.create(CONFIGMAPS, config_map("shop"))
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "shop", "namespace": NAMESPACE},
        "spec": {"selector": {"app": "shop"}, "ports": [{"port": 80}]},
    }
    await hub.alice.create(SERVICES, service)
    workload = [
        {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"},
        {"apiVersion": "v1", "kind": "Service", "name": "shop"},
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "shop"},
    ]
    await hub.place("shop", workload=workload)
    await hub.ready("shop")
    (target,) = await hub.chosen("shop")
    for resource in (DEPLOYMENTS, SERVICES, CONFIGMAPS):
        assert await hub.placed("shop", resource) == [target]
    there = await hub.targets[target].get(SERVICES, "shop", NAMESPACE)
    here = await hub.alice.get(SERVICES, "shop", NAMESPACE)
    assert there["spec"]["clusterIP"]
    assert there["metadata"]["uid"] != here["metadata"]["uid"]
    before = there["metadata"]["resourceVersion"]
    await hub.place("neighbour")
    await hub.ready("neighbour")
    again = await hub.targets[target].get(SERVICES, "shop", NAMESPACE)
    assert again["metadata"]["resourceVersion"] == before


async def test_kubectl_get_says_where_a_placement_is_and_what_room_a_target_has(hub: Hub, tmp_path: Path):
    assert support.KUBECTL, "the lane brings kubectl"
    await hub.place("shown", targets={"count": {"min": 2}})
    await hub.ready("shown")
    admin = hub.servers["hub"].kubeconfigs[apiserver.ADMIN]
    _, output = await support.kubectl(tmp_path, admin, "get", "placements", "shown", "--namespace", NAMESPACE)
    shown = cells(output)["shown"]
    assert sorted(shown["WHERE"].split(",")) == ["north:1", "south:1"]

    async def counted() -> dict[str, str] | None:
        _, output = await support.kubectl(tmp_path, admin, "get", "synctargets")
        north = cells(output).get("north", {})
        return north if north.get("PLACEMENTS", "0") not in ("0", "<none>") else None

    north = await until(counted, "placements are counted in north")
    assert north["CORDONED"] == "false"
    assert 0 < parse_quantity(north["FREE CPU"]) < 8
    assert 0 < parse_quantity(north["FREE MEMORY"]) <= 32 * 2**30


async def test_a_deleted_placement_leaves_nothing_behind(hub: Hub):
    await hub.place("gone", targets={"count": {"min": 2}})
    await hub.ready("gone")
    await hub.alice.delete(PLACEMENTS, "gone", NAMESPACE)

    async def vanished() -> bool:
        return not await exists(hub.alice, PLACEMENTS, "gone")

    await until(vanished, "the Placement is gone")
    assert await hub.placed("gone") == []

    async def collected() -> bool:  # by Kubernetes' own garbage collector
        bindings = (await hub.alice.list(BINDINGS, NAMESPACE)).items
        left = [each for each in bindings if each["spec"]["placementRef"]["name"] == "gone"]
        return not left and not await exists(hub.alice, DECISIONS, "gone")

    await until(collected, "bindings and decision are gone")


async def test_one_leaves_for_one_of_higher_priority_where_the_owner_of_the_cluster_lets_its_requester(hub: Hub):
    rbac = "rbac.authorization.k8s.io"
    rule = {"apiGroups": ["placement.moorage.io"], "resources": ["synctargets"], "verbs": ["preempt"]}
    role = {"kind": "ClusterRole", "metadata": {"name": "preempt"}, "rules": [{**rule, "resourceNames": ["north"]}]}
    await hub.admin.create(CLUSTERROLES, {"apiVersion": f"{rbac}/v1", **role})
    binding = {
        "apiVersion": f"{rbac}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "preempt"},
        "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "preempt"},
        "subjects": [{"apiGroup": rbac, "kind": "User", "name": "alice"}],
    }
    await hub.admin.create(CLUSTERROLEBINDINGS, binding)
    only = {"targets": {"names": ["north"]}}
    await hub.alice.create(DEPLOYMENTS, deployment("report", cpu="5"))
    await hub.alice.create(PLACEMENTS, placement("report", **only))
    await hub.ready("report")
    urgent = {"priority": 100, "preemptionPolicy": "PreemptLowerPriority", **only}
    await hub.alice.create(DEPLOYMENTS, deployment("till", cpu="4"))
    await hub.alice.create(PLACEMENTS, placement("till", **urgent))
    await hub.ready("till")
    assert await hub.placed("report") == []
    told = condition(await hub.status("report"), "Preempted")
    assert told["message"] == "It has to leave north for placement till, of higher priority."
    await hub.alice.delete(PLACEMENTS, "till", NAMESPACE)
    await hub.ready("report")
    await hub.alice.delete(PLACEMENTS, "report", NAMESPACE)


async def test_a_quota_over_all_clusters_counts_and_bounds_and_no_tenant_writes_one(hub: Hub):
    def quota(cpu: str) -> dict[str, Any]:
        spec = {"namespace": NAMESPACE, "hard": {"cpu": cpu}}
        return {"apiVersion": QUOTAS.api_version, "kind": QUOTAS.kind, "metadata": {"name": "apps"}, "spec": spec}

    async def used() -> float:
        status = (await hub.admin.get(QUOTAS, "apps")).get("status") or {}
        return float(parse_quantity(status.get("used", {}).get("cpu", "-1")))  # by the controller's own rights

    await hub.place("counted")
    await hub.ready("counted")
    with pytest.raises(ApiError, match="cannot create"):
        await hub.alice.create(QUOTAS, quota("1000"))
    await hub.admin.create(QUOTAS, quota("0"))
    runs = await until(used, "what runs is counted", holds=lambda found: found > 0)
    await hub.place("bounded")

    async def refused() -> bool:
        return (await hub.status("bounded")).get("phase") == "Unschedulable"

    await until(refused, "bounded is Unschedulable")
    said = condition(await hub.status("bounded"), "Scheduled")["message"]
    assert "the quota apps over all clusters leaves too little" in said
    with pytest.raises(ApiError, match="cannot patch"):
        await hub.alice.merge_patch(QUOTAS, "apps", {"spec": {"hard": {"cpu": "1000"}}})
    await hub.admin.merge_patch(QUOTAS, "apps", {"spec": {"hard": {"cpu": "1000"}}})
    await hub.ready("bounded")
    await until(used, "it is counted, too", holds=lambda found: found > runs)
    await hub.admin.delete(QUOTAS, "apps")


async def test_the_workloads_of_a_lost_cluster_move(hub: Hub):
    await hub.place("mobile")
    await hub.ready("mobile")
    (home,) = await hub.chosen("mobile")
    await asyncio.to_thread(hub.servers[home].end)
    other = next(name for name in ("north", "south") if name != home)

    async def moved() -> bool:
        return await hub.chosen("mobile") == [other]

    await until(moved, "mobile has another target")
    await until(lambda: exists(hub.targets[other], DEPLOYMENTS, "mobile"), "mobile runs there")
    await hub.ready("mobile")


def config_map(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "data": {"greeting": "hello"},
    }
