"""An API server that is reached through a tunnel answers as it does directly: writes, large lists, watches."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from shared.broker.nats.bus import NatsBus
from shared.broker.nats.server import NatsServer
from shared.broker.tunnel.caller import Tunnels
from shared.broker.tunnel.subjects import tunnel_id
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.resources import CONFIGMAPS
from tests.conformance.api import Api, watching
from tests.support.tunnels import agent

TUNNEL = tunnel_id("", "there", "1")


@pytest.fixture
async def through(api: Api, tmp_path: Path) -> AsyncIterator[Client]:
    """A client of the same server that nothing but the agent dials."""
    found = load_kubeconfig(api.backend.admin)
    port = urlsplit(found.server).port
    assert port is not None
    async with AsyncExitStack() as stack:
        nats = await stack.enter_async_context(NatsServer(tmp_path / "nats"))
        beside, worker = [await NatsBus.connect(nats.url, name=name) for name in ("agent", "worker")]
        stack.push_async_callback(beside.close)
        stack.push_async_callback(worker.close)
        await stack.enter_async_context(agent(beside, TUNNEL, port))
        tunnels = Tunnels(worker)
        stack.push_async_callback(tunnels.close)
        client = Client(found, timeout=60, connect=lambda: tunnels.connect(TUNNEL))
        yield await stack.enter_async_context(client)
        assert len(tunnels) > 0


async def test_what_is_written_listed_and_watched_through_a_tunnel_is_what_is_there(api: Api, through: Client) -> None:
    async with watching(through, CONFIGMAPS, api.namespace) as events:
        for name in ("a", "b"):
            obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": api.namespace}}
            await through.create(CONFIGMAPS, {**obj, "data": {"much": "x" * 500_000}})
            assert await events.change() == ("ADDED", name)
        listed = await through.list(CONFIGMAPS, api.namespace)
        assert listed.items == (await api.admin.list(CONFIGMAPS, api.namespace)).items
        await api.admin.delete(CONFIGMAPS, "a", api.namespace)
        assert await events.change() == ("DELETED", "a")
        await through.merge_patch(CONFIGMAPS, "b", {"data": {"more": "y"}}, api.namespace)
        assert await events.change() == ("MODIFIED", "b")
