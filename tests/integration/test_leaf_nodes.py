"""deploy/nats/leaf.conf and leafnodes.conf on real nats-servers: what tenants and workers at an edge may do."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.cli.nats import ADMIN
from services.registry import load_all
from services.sandbox.wire.certificate import self_signed
from shared.api import PlacementPolicySpec, Rule
from shared.broker.bus import BusError
from shared.broker.nats import reader
from shared.broker.nats.bus import NatsBus
from shared.broker.nats.client import NatsClient
from shared.broker.nats.options import NatsOptions
from shared.broker.nats.permissions import API, API_PREFIX
from shared.broker.nats.server import find_binary
from shared.broker.nats.store import NatsStore
from shared.broker.table import Table
from shared.model.events import SuspendedData
from shared.model.policy import PolicyEntry
from shared.model.refs import PlacementRef
from shared.pipeline import topology
from shared.pipeline.buckets import CHECKS, POLICIES
from shared.pipeline.events import EVENTS_STREAM, PlacementEvent
from shared.pipeline.requests import RequestSubject
from tests.support.compose import ROOT
from tests.support.ports import free_port, listens
from tests.support.process import BOUND, http_get, process
from tests.support.secured import provision
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(400)

SHOP = "root:shop"
UNANSWERED = 2.0  # seconds after which a request counts as one that nobody hears: who is allowed is answered at once


class Edge:
    """A hub and a leaf node, with the configurations as they are shipped, but for paths, ports and the address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._hub_port, self._leaf_port, self._edge_port = free_port(), free_port(), free_port()
        self.url = f"nats://127.0.0.1:{self._edge_port}"
        self._hub = AsyncExitStack()

    async def prepare(self) -> None:
        """Certificate, keys and configurations."""
        certificate, key = self_signed(["127.0.0.1"], datetime.now(UTC))
        (self._folder / "tls.crt").write_bytes(certificate)
        (self._folder / "ca.crt").write_bytes(certificate)
        (self._folder / "tls.key").write_bytes(key)
        keys, permissions = str(self._folder / "keys"), str(self._folder / "permissions.conf")
        tenants = ["--tenant", f"shop={SHOP}/alice,bob", "--tenant", "other=root:other/carol"]
        command = ["moorage", "nats", "permissions", "--seeds", keys, *tenants, "--file", permissions]
        async with process(command, os.environ) as running:
            assert await running.ends() == 0, running.output
        hub = _shipped("secure.conf") + _shipped("leafnodes.conf")
        self._write(
            "hub.conf", hub, {"port: 4222": f"port: {self._hub_port}", "port: 7422": f"port: {self._leaf_port}"}
        )
        leaf = {"port: 4222": f"port: {self._edge_port}", "nats.example:7422": f"127.0.0.1:{self._leaf_port}"}
        self._write("leaf.conf", _shipped("leaf.conf"), leaf)

    def _write(self, name: str, shipped: str, changes: Mapping[str, str]) -> None:
        for before, after in {
            "/etc/nats/tls": str(self._folder),
            "/data": str(self._folder / "data"),
            **changes,
        }.items():
            shipped = shipped.replace(before, after)
        (self._folder / name).write_text(shipped)

    def seed(self, name: str) -> str:
        return (self._folder / "keys" / f"{name}.nk").read_text().strip()

    async def start_hub(self) -> None:
        await self._hub.enter_async_context(_server(self._folder / "hub.conf", os.environ, self._hub_port))

    async def stop_hub(self) -> None:
        await self._hub.aclose()

    def leaf(self, *, jetstream: bool = False) -> contextlib.AbstractAsyncContextManager[None]:
        """The leaf node, `jetstream`: with one of its own, also in the account of the tenant."""
        if jetstream:
            config = self._folder / "leaf.conf"
            own = f'jetstream {{ store_dir: "{self._folder / "edge"}", domain: edge }}'
            config.write_text(f"{config.read_text().replace('shop: {', 'shop: { jetstream: enabled,', 1)}\n{own}\n")
        seeds = {f"MOORAGE_SEED_{name.upper()}": self.seed(name) for name in ("shop", "policy")}
        passwords = {f"MOORAGE_EDGE_{name.upper()}": f"edge-{name}" for name in ("shop", "policy")}
        return _server(self._folder / "leaf.conf", {**os.environ, **seeds, **passwords}, self._edge_port)

    @asynccontextmanager
    async def at_the_hub(self, name: str) -> AsyncIterator[NatsClient]:
        options = NatsOptions(
            nkey_seed_file=str(self._folder / "keys" / f"{name}.nk"),
            tls_ca_file=str(self._folder / "ca.crt"),
            api_prefix=API if name == ADMIN else API_PREFIX,
        )
        async with _closing(
            await NatsClient.connect(f"nats://127.0.0.1:{self._hub_port}", name=name, options=options)
        ) as client:
            yield client

    @asynccontextmanager
    async def at_the_edge(self, name: str) -> AsyncIterator[NatsClient]:
        options = NatsOptions(user=name, password=f"edge-{name}", api_prefix=API_PREFIX)
        async with _closing(await NatsClient.connect(self.url, name=name, options=options)) as client:
            yield client

    def worker(self, name: str) -> dict[str, str]:
        """The environment of a worker at the edge."""
        return {
            **os.environ,
            "MOORAGE_NATS_URL": self.url,
            "MOORAGE_NATS_USER": name,
            "MOORAGE_NATS_PASSWORD": f"edge-{name}",
            "MOORAGE_NATS_API_PREFIX": API_PREFIX,
            "MOORAGE_PROVISION": "false",
            "MOORAGE_LOG_FORMAT": "json",
        }


def _shipped(name: str) -> str:
    return (ROOT / "deploy/nats" / name).read_text()


@asynccontextmanager
async def _server(config: Path, env: Mapping[str, str], port: int) -> AsyncIterator[None]:
    async with process([str(find_binary()), "-c", str(config), "-a", "127.0.0.1"], env) as server:

        async def ready() -> bool:
            assert server.child.returncode is None, server.output
            return await listens(port)

        await until(ready, "a server listens", within=BOUND)
        yield


@asynccontextmanager
async def _closing(client: NatsClient) -> AsyncIterator[NatsClient]:
    try:
        yield client
    finally:
        await client.close()


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    found = Edge(tmp_path)
    await found.prepare()
    try:
        await found.start_hub()
        async with found.at_the_hub(ADMIN) as admin:
            await provision(admin)
        yield found
    finally:
        await found.stop_hub()


def request(user: str, workspace: str) -> str:
    return RequestSubject(workspace, user, "place").subject


def event(workspace: str) -> PlacementEvent:
    ref = PlacementRef(workspace=workspace, namespace="n", name="p")
    return PlacementEvent(data=SuspendedData(placement=ref, uid=workspace, generation=1, attempt=1), occasion="1")


@pytest.mark.parametrize("own", [False, True], ids=["none", "of its own"])
async def test_a_tenant_at_an_edge_asks_and_follows_as_on_the_hub_whether_the_edge_has_a_jetstream(
    edge: Edge, own: bool
) -> None:
    async with edge.leaf(jetstream=own), edge.at_the_edge("shop") as shop:
        stored = await shop.request(request("alice", SHOP), b"{}", deadline=BOUND)
        assert json.loads(stored.data)["stream"] == "MOORAGE_REQUESTS"
        forbidden = (
            request("carol", "root:other"),
            request("carol", SHOP),
            "moorage.pipeline.requested.root=3Ashop.n.p",
            f"{API_PREFIX}.STREAM.INFO.{EVENTS_STREAM}",
            f"{API_PREFIX}.CONSUMER.CREATE.{EVENTS_STREAM}.mine.{event('root:other').subject}",
        )
        asked = (shop.request(each, b"{}", deadline=UNANSWERED) for each in forbidden)
        for answer in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(answer, BusError)
        async with edge.at_the_hub("status") as status:
            for workspace in ("root:other", SHOP):
                told = event(workspace)
                await status.request(told.subject, told.encoded({}), {"Nats-Msg-Id": told.id})
        async with asyncio.timeout(BOUND):
            wanted = "moorage.events.root=3Ashop.>"
            async for message in reader.follow(shop, EVENTS_STREAM, wanted, {"deliver_policy": "all"}):
                assert message is not None
                assert json.loads(message.data)["id"] == event(SHOP).id
                break


@pytest.mark.long
async def test_a_worker_at_an_edge_takes_work_and_goes_on_after_the_hub_was_away(edge: Edge) -> None:
    (policy,) = load_all(("policy",))
    (consumer,) = topology.consumers(policy)

    async def given_up(many: int) -> None:
        """Have the worker take a message that it can make nothing of, which ends as a dead letter."""
        async with edge.at_the_hub("discovery") as discovery, edge.at_the_hub(ADMIN) as admin:
            bus = NatsBus(admin)
            await NatsBus(discovery).publish(f"moorage.pipeline.discovered.root.n.p{many}", b"{}", id=str(many))

            async def done() -> tuple[int, int]:
                info = await admin.api(f"CONSUMER.INFO.{consumer.stream}.{consumer.name}")
                return len([each async for each in bus.dead_letters()]), info["num_ack_pending"]

            await until(
                done, "a message is given up and answered", holds=lambda found: found == (many, 0), within=BOUND
            )

    async def checked(name: str) -> None:
        """Have it read a bucket, and write one."""
        spec = PlacementPolicySpec(rules=(Rule(name="r", expression="target.ready"),))
        entry = PolicyEntry(workspace="root", name=name, uid="u", generation=1, spec=spec)
        async with edge.at_the_hub("controller") as controller, edge.at_the_hub(ADMIN) as admin:
            await Table(NatsStore(controller), POLICIES).put(f"root.{name}", entry)
            checks = Table(NatsStore(admin), CHECKS)
            await until(lambda: checks.get(f"root.{name}"), "a policy is checked", within=BOUND)

    async with edge.leaf(), process(["moorage", "worker", "policy"], edge.worker("policy")) as worker:
        ready = await worker.record(lambda record: record["message"] == "ready")
        await given_up(1)
        await checked("first")
        await edge.stop_hub()

        async def readiness() -> int:
            return (await http_get(ready["health_port"], "/readyz"))[0]

        await until(readiness, "the worker says that it is not ready", holds=lambda status: status == 503, within=BOUND)
        await edge.start_hub()
        await given_up(2)
        await checked("second")
        await until(readiness, "the worker is ready again", holds=lambda status: status == 200, within=BOUND)
        worker.terminate()
        assert await worker.ends() == 0, worker.output
