"""`moorage cluster` on real Kubernetes: two API servers join a third; one is drained and leaves."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from services import PIPELINE
from shared.broker.nats.server import NatsServer
from shared.hub.resources import DECISIONS, PLACEMENTS, SYNCTARGETS
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.resources import CLUSTERROLES, DEPLOYMENTS, NAMESPACES
from tests.e2e.system import until
from tests.support import apiserver, grants, kubelets, perimeter, servers
from tests.support.client import if_there
from tests.support.process import process
from tests.support.worlds import NAMESPACE, deployment, placement

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.servers,
    pytest.mark.timeout(300),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("servers-clusters"),
]

OF_THE_HUB = ("controller", "discovery", "decision", "binding", "status", "intake")
ACCOUNT = "system:serviceaccount:moorage-system:"
BRISK = {
    "MOORAGE_HUB": "kubernetes",
    "MOORAGE_LOG_FORMAT": "json",
    "MOORAGE_PROBE_INTERVAL_SECONDS": "1",
    "MOORAGE_RESYNC_SECONDS": "5",
    "MOORAGE_HANDOVER_SECONDS": "5",
}


class Fleet:
    """A hub with its workers, and the API servers of two clusters that nobody has offered yet."""

    def __init__(self, server: apiserver.ApiServer, admin: Client, alice: Client) -> None:
        self.server = server
        self.admin = admin
        self.alice = alice
        self.clusters: dict[str, apiserver.ApiServer] = {}
        self.targets: dict[str, Client] = {}

    async def runs(self, *words: str, code: int = 0) -> str:
        where = ["--kubeconfig", str(self.server.kubeconfigs[apiserver.ADMIN])]
        async with process(["moorage", "cluster", *words, *where], os.environ) as running:
            assert await running.ends(150) == code, running.output
            return running.output

    async def asks(self, *words: str) -> str:
        """What the team is told by a command of its own."""
        where = ["--kubeconfig", str(self.server.kubeconfigs["alice"])]
        async with process(["moorage", *words, *where], os.environ) as running:
            assert await running.ends(150) == 0, running.output
            return running.output

    def owner(self, name: str) -> str:
        return str(self.clusters[name].kubeconfigs[apiserver.ADMIN])

    async def offer_all(self) -> None:
        """Both clusters join, and a Deployment is placed in one of them."""
        for name in self.clusters:
            said = await self.runs("join", name, "--cluster-kubeconfig", self.owner(name), "--allow-group", "shop")
            assert f"{name} has joined" in said
        await self.alice.create(DEPLOYMENTS, deployment("web"))
        await self.alice.create(PLACEMENTS, placement("web"))
        await until(lambda: self.ready("web"), "web is Ready")

    async def chosen(self, name: str) -> list[str]:
        found = await if_there(self.alice.get(DECISIONS, name, NAMESPACE)) or {}
        return [each["target"]["name"] for each in found.get("status", {}).get("selected", ())]

    async def ready(self, name: str) -> bool:
        status = (await self.alice.get(PLACEMENTS, name, NAMESPACE)).get("status") or {}
        return status.get("phase") == "Ready"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    binaries = servers.find()
    if binaries is None:
        reason = f"no kube-apiserver in {servers.folder()}: make servers builds it"
        pytest.fail(reason) if os.environ.get("MOORAGE_REQUIRE_SERVERS") else pytest.skip(reason)
    folder = tmp_path_factory.mktemp("fleet")
    async with AsyncExitStack() as stack:
        running = stack.enter_context(apiserver.servers(binaries, folder))
        users = [("alice", ["shop"]), *((f"{ACCOUNT}{name}", ["system:serviceaccounts"]) for name in OF_THE_HUB)]
        server = await asyncio.to_thread(running.apiserver, "hub", users, controllers=apiserver.CONTROLLERS)

        async def client(kubeconfig: Path) -> Client:
            return await stack.enter_async_context(Client(load_kubeconfig(kubeconfig), timeout=20))

        admin = await client(server.kubeconfigs[apiserver.ADMIN])
        found = Fleet(server, admin, await client(server.kubeconfigs["alice"]))
        install = ["moorage", "install", "kubernetes", "--kubeconfig", str(server.kubeconfigs[apiserver.ADMIN])]
        async with process(install, os.environ) as installing:
            assert await installing.ends() == 0, installing.output
        for name in ("north", "south"):
            start = partial(running.apiserver, name, controllers=[apiserver.GARBAGE, apiserver.TOKENS])
            found.clusters[name] = await asyncio.to_thread(start)
            found.targets[name] = await client(found.clusters[name].kubeconfigs[apiserver.ADMIN])
            await kubelets.join(found.targets[name], f"{name}-0", cpu="8", memory="32Gi", pods="110")
            await stack.enter_async_context(kubelets.reporting(found.targets[name]))
        await admin.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        await grants.grant(
            admin, "alice", grants.PLACING, {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["*"]}
        )
        nats = await stack.enter_async_context(NatsServer(folder / "nats"))
        workers = []
        for name in PIPELINE:
            env = {**os.environ, **BRISK, **perimeter.ENVIRONMENT, "MOORAGE_NATS_URL": nats.url}
            if name in OF_THE_HUB:
                env["MOORAGE_KUBECONFIG"] = str(server.kubeconfigs[f"{ACCOUNT}{name}"])
            workers.append(await stack.enter_async_context(process(["moorage", "worker", name], env)))
        for worker in workers:
            await worker.record(lambda record: record["message"] == "ready")
        await found.offer_all()
        yield found
        refused = re.compile(r"orbidden|nauthorized")
        forbidden = [line for worker in workers for line in worker.lines if refused.search(line)]
        assert not forbidden, forbidden[:3]


async def test_real_clusters_join_and_what_is_placed_there_needs_no_further_right(fleet: Fleet) -> None:
    conditions = (await fleet.admin.get(SYNCTARGETS, "north"))["status"]["conditions"]
    assert {each["type"]: each["status"] for each in conditions}["PodsCounted"] == "True"
    said = await fleet.runs("join", "again", "--cluster-kubeconfig", fleet.owner("north"), code=1)
    assert "has joined already, as north" in said


async def test_the_tokens_of_a_real_cluster_are_rotated(fleet: Fleet) -> None:
    (home,) = await fleet.chosen("web")
    assert "1 revoked" in await fleet.runs("rotate", home, "--grace", "5s")
    patch = {"spec": {"template": {"metadata": {"annotations": {"changed": "yes"}}}}}
    await fleet.alice.merge_patch(DEPLOYMENTS, "web", patch, NAMESPACE)

    async def changed() -> bool:
        found = await fleet.targets[home].get(DEPLOYMENTS, "web", NAMESPACE)
        return "changed" in (found["spec"]["template"]["metadata"].get("annotations") or {})

    await until(changed, "the change arrives by the new token")


async def test_what_may_not_run_twice_moves_between_real_clusters_when_it_is_asked_to(fleet: Fleet) -> None:
    for name in fleet.clusters:
        await fleet.admin.merge_patch(SYNCTARGETS, name, {"metadata": {"labels": {"place": name}}})
    near = {"matchExpressions": [{"key": "place", "operator": "In", "values": ["south"]}]}
    tiers = [{"name": "near", "required": [near]}, {"name": "anywhere"}]
    stability = {"moves": "BreakBeforeMake", "disruptionBudget": 1}
    await fleet.runs("cordon", "south")
    await fleet.alice.create(DEPLOYMENTS, deployment("kiosk"))
    await fleet.alice.create(PLACEMENTS, placement("kiosk", affinity={"tiers": tiers}, stability=stability))
    await until(lambda: fleet.ready("kiosk"), "kiosk is Ready")
    assert await fleet.chosen("kiosk") == ["north"]
    await fleet.runs("uncordon", "south")
    for command, source, destination in (("rebalance", "north", "south"), ("evict", "south", "north")):
        words = [command, f"{NAMESPACE}/kiosk", *([source] if command == "evict" else [])]
        said = await fleet.asks(*words)
        assert re.search(rf"from /?{source}.* to /?{destination}|has left {source}, and is in /?{destination}", said)
        assert await if_there(fleet.targets[source].get(DEPLOYMENTS, "kiosk", NAMESPACE)) is None
        await until(lambda: fleet.ready("kiosk"), "kiosk is Ready elsewhere")
        assert await if_there(fleet.targets[destination].get(DEPLOYMENTS, "kiosk", NAMESPACE)) is not None
    await fleet.alice.delete(PLACEMENTS, "kiosk", NAMESPACE)

    async def gone() -> bool:
        return await if_there(fleet.alice.get(PLACEMENTS, "kiosk", NAMESPACE)) is None

    await until(gone, "kiosk is gone")


async def test_a_real_cluster_is_drained_and_leaves_with_its_account(fleet: Fleet) -> None:
    (home,) = await fleet.chosen("web")
    other = "south" if home == "north" else "north"
    foretold = json.loads(await fleet.runs("drain", home, "--dry-run", "-o", "json"))["moves"]
    assert [each["after"] for each in foretold] == [[f"/{other}"]]
    said = await fleet.runs("drain", home)
    assert f"{NAMESPACE}/web has left, and is in {other}" in said
    assert await if_there(fleet.targets[home].get(DEPLOYMENTS, "web", NAMESPACE)) is None
    await until(lambda: fleet.ready("web"), "web is Ready elsewhere")
    said = await fleet.runs("leave", home, "--cluster-kubeconfig", fleet.owner(home))
    assert f"{home} has left" in said
    roles = [each["metadata"]["name"] for each in (await fleet.targets[home].list(CLUSTERROLES)).items]
    assert [name for name in roles if "moorage" in name] == []
    assert [each["metadata"]["name"] for each in (await fleet.admin.list(SYNCTARGETS)).items] == [other]
