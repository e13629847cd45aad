"""What a tunnel costs: latency and throughput of a target behind an agent, against a direct connection.

`python -m tests.bench.tunnel` starts a nats-server, an agent and a server with TLS of its own, all in this process but
for NATS: what is measured is their processor time together, on loopback.
"""

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import uvloop

from services.tunnel.dialling import ApiEndpoint
from shared.broker.nats.bus import NatsBus
from shared.broker.nats.server import NatsServer
from shared.broker.tunnel.caller import Tunnels
from shared.broker.tunnel.subjects import tunnel_id
from shared.kube.client import Client
from tests.support.tunnels import HOST, TlsServer, agent

ASKED = 500
LARGE = 8_000_000  # bytes
TOGETHER = 50


async def measured(client: Client) -> tuple[float, float, float, float]:
    """Median and 99th percentile of a small request (ms), MB/s of large bodies, small requests per second of many."""
    await client.request("GET", "/warm")
    took = []
    for _ in range(ASKED):
        began = time.perf_counter()
        await client.request("GET", "/small")
        took.append((time.perf_counter() - began) * 1e3)
    began = time.perf_counter()
    for _ in range(5):
        assert len(await client.request("GET", f"/{LARGE}")) == LARGE
    rate = 5 * LARGE / 1e6 / (time.perf_counter() - began)
    began = time.perf_counter()

    async def several() -> None:
        for _ in range(20):
            await client.request("GET", "/small")

    await asyncio.gather(*(several() for _ in range(TOGETHER)))
    many = 20 * TOGETHER / (time.perf_counter() - began)
    return statistics.median(took), statistics.quantiles(took, n=100)[98], rate, many


async def main() -> None:
    """Measure both, and print a table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with NatsServer(folder / "nats") as nats, TlsServer(folder).running() as server:
            beside, worker = [await NatsBus.connect(nats.url, name=each) for each in ("agent", "worker")]
            tunnels, tunnel = Tunnels(worker), tunnel_id("", "bench", "1")
            found = {}
            to = ApiEndpoint("127.0.0.1", server.port)
            async with Client(server.credentials, connect=lambda: to.dial(5.0)) as client:
                found["direct"] = await measured(client)
            async with agent(beside, tunnel, server.port), server.client(tunnels, tunnel) as client:
                found["tunnel"] = await measured(client)
            await tunnels.close()
            await beside.close()
            await worker.close()
    print(f"server {HOST}, {ASKED} small requests, {LARGE / 1e6:g} MB bodies, {TOGETHER} at once")
    print(f"{'':8}{'median ms':>12}{'p99 ms':>10}{'MB/s':>10}{'requests/s':>12}")
    for way, (median, worst, rate, many) in found.items():
        print(f"{way:8}{median:12.2f}{worst:10.2f}{rate:10.1f}{many:12.0f}")


if __name__ == "__main__":
    uvloop.run(main())
