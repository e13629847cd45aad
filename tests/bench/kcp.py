"""What the same workers make of a real kcp and of the sandbox: times, requests, and what a tree of workspaces costs.

    MOORAGE_KCP=/path/to/kcp python -m tests.bench.kcp --placements 20 --workspaces 200

For each hub a system of its own, made by the commands of docs/kcp.md, with the settings that workers have by default,
and a cluster of a sandbox as its target. Printed are, one after the other:

- the limit: from a ConfigMap that is created to the watch that tells of it. A placement takes two of these or more;
- of placements that come one at a time, when a watch tells of the decision and of Ready, and the requests of each;
- the same of the first placement of a workspace that is new, once kcp says that it serves Deployments;
- what the workers ask of the hub while nothing is placed, without and with a tree of workspaces that do not use the
  APIs;
- how long a discovery of its own, with an empty NATS, takes to know all workspaces that do: those so far, and all of
  that tree, once they have bound the APIs.

Without MOORAGE_KCP only the sandbox is measured, which is said.
"""

import argparse
import asyncio
import logging
import os
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from shared.broker.nats.connection import connect
from shared.broker.nats.server import NatsServer
from shared.broker.table import Table
from shared.hub.resources import APIBINDINGS, DECISIONS, PLACEMENTS, WORKSPACES
from shared.kube.client import Client
from shared.kube.informer import Informer
from shared.kube.resources import CONFIGMAPS, Resource
from shared.pipeline import buckets
from shared.process.settings import NatsSettings
from tests.bench.load import decoder
from tests.bench.machine import machine, spread
from tests.e2e.tree import ACME, PLATFORM, TEAM, Consumer, Tree, tree
from tests.support import perimeter
from tests.support.grants import ACCESS, grant
from tests.support.kcp import PROGRAM, add_workspace
from tests.support.manifests import obj
from tests.support.process import http_get, process
from tests.support.waiting import until

ENV = {**perimeter.ENVIRONMENT, "MOORAGE_LOG_FORMAT": "json"}
WITHIN = 600.0  # seconds
EXPORT = "root:moorage/placement.moorage.io"
LIMIT = 30  # ConfigMaps
NEW = 3  # workspaces that bind the APIs
WIDTH = 20  # workspaces in one
BINDING = 8  # at a time
COUNTED = "moorage_kubernetes_request_duration_seconds_count"
LISTING = {"apiGroups": [WORKSPACES.group], "resources": [WORKSPACES.plural], "verbs": ["get", "list", "watch"]}
Found = dict[str, Any]


async def run(hub: str, placements: int, workspaces: int, idle: float) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        async with tree(hub, folder, ENV) as running:
            print(f"{hub}: {machine()}", flush=True)
            team = running.team()
            _say(hub, "limit", [await _noted(team, f"limit-{number}") for number in range(LIMIT)])
            before = await _asked(running)
            _say(hub, "placement", [await _placed(team, f"bench-{number}") for number in range(placements)])
            asked = await _asked(running) - before
            print(f"{hub}: requests of each: {_listed(asked, placements)}, with its removal", flush=True)
            first = []
            for number in range(NEW):
                new = await running.consumer(f"new-{number}")
                first.append(await _placed(new, "first"))
            _say(hub, "first placement of a workspace", first)
            quiet = await _idle(running, idle)
            print(f"{hub}: {idle:g} s idle: {_listed(quiet, idle)} a second", flush=True)
            unused = await _grow(running, workspaces)
            large = await _idle(running, idle)
            print(f"{hub}: {idle:g} s idle with these: {_listed(large, idle)} a second", flush=True)
            more = max(0, large["hub"] - quiet["hub"]) / idle / workspaces * 1000
            print(f"{hub}: 1,000 workspaces that use nothing: {more:.1f} requests a second", flush=True)
            using = {ACME, TEAM, PLATFORM, *(f"{ACME}:new-{number}" for number in range(NEW))}
            for joining in ((), unused):
                await _bind(running, joining)
                using |= {above for path in joining for above in (path, path.rpartition(":")[0])}
                seconds = await _discovered(running, folder / f"cold-{len(using)}", using)
                print(
                    f"{hub}: a new discovery knows all {len(using)} of {workspaces} and more after ", end="", flush=True
                )
                print(f"{seconds:.1f} s", flush=True)


def _say(hub: str, what: str, samples: list[dict[str, float]]) -> None:
    for part in samples[0]:
        print(f"{hub}: {what}, {part}: {spread([1000 * each[part] for each in samples])}", flush=True)


def _listed(counts: Counter[str], by: float) -> str:
    return ", ".join(f"{counts[server] / by:.1f} to the {server}" for server in ("hub", "target"))


async def _noted(consumer: Consumer, name: str) -> dict[str, float]:
    client, namespace = consumer.client, consumer.namespace
    made = obj("ConfigMap", CONFIGMAPS.api_version, name=name, namespace=namespace, data={"a": "b"})
    async with _watching(client, CONFIGMAPS, name, namespace, bool) as told:
        began = time.perf_counter()
        await client.create(CONFIGMAPS, made)
        return {"told": await told - began}


async def _placed(consumer: Consumer, name: str) -> dict[str, float]:
    """Seconds until it is decided and Ready; it is taken away again."""
    client, namespace = consumer.client, consumer.namespace
    async with (
        _watching(
            client, DECISIONS, name, namespace, lambda each: (each.get("status") or {}).get("selected")
        ) as decided,
        _watching(client, PLACEMENTS, name, namespace, lambda each: _phase(each) == "Ready") as ready,
    ):
        began = await consumer.place(name)
        times = {"decided": await decided - began, "Ready": await ready - began}
    await client.delete(PLACEMENTS, name, namespace)
    await consumer.gone(name)
    return times


def _phase(placement: Found) -> str:
    return str((placement.get("status") or {}).get("phase", ""))


@asynccontextmanager
async def _watching(
    client: Client, resource: Resource, name: str, namespace: str, holds: Callable[[Found], Any]
) -> AsyncIterator[Awaitable[float]]:
    """Within the block, when a watch told that this holds of an object."""

    async def told() -> float:
        async with asyncio.timeout(WITHIN):
            async for change in informer.events():
                if change.object is not None and change.key == (namespace, name) and holds(change.object):
                    return time.perf_counter()
        raise AssertionError

    informer = Informer(client, resource, namespace=namespace, decode=decoder(dict))
    async with informer:
        await informer.synced.wait()
        task = asyncio.create_task(told())
        try:
            yield task
        finally:
            task.cancel()


async def _asked(running: Tree) -> Counter[str]:
    """Requests of all workers so far, to the hub and to targets, as they count them."""
    found: Counter[str] = Counter()
    for port in [each["health_port"] for each in running.running.records if each.get("message") == "ready"]:
        _, body = await http_get(port, "/metrics")
        for line in body.splitlines():
            if line.startswith(COUNTED):
                found["hub" if 'server="hub"' in line else "target"] += int(float(line.rpartition(" ")[2]))
    return found


async def _idle(running: Tree, seconds: float) -> Counter[str]:
    before = await _asked(running)
    await asyncio.sleep(seconds)
    return await _asked(running) - before


async def _grow(running: Tree, workspaces: int) -> list[str]:
    """Add so many workspaces, in folders: those let discovery in, what is in them does not; the paths of the latter."""
    root, left, made = running.admin.cluster(ACME), workspaces, list[str]()
    for number in range(-(-workspaces // (WIDTH + 1))):
        folder = running.admin.cluster(f"{ACME}:folder-{number}")
        await add_workspace(root, f"folder-{number}", WITHIN)
        await grant(folder, "worker-discovery", ACCESS, LISTING)
        here = min(WIDTH, left - 1)
        await asyncio.gather(*(add_workspace(folder, f"unused-{each}", WITHIN) for each in range(here)))
        made += [f"{ACME}:folder-{number}:unused-{each}" for each in range(here)]
        left -= here + 1
    return made


async def _bind(running: Tree, paths: Iterable[str]) -> None:
    """Have workspaces bind the APIs, and accept none of the claims."""
    path, _, name = EXPORT.partition("/")
    spec = {"reference": {"export": {"path": path, "name": name}}}
    room = asyncio.Semaphore(BINDING)

    async def bind(client: Client) -> None:
        async with room:
            await client.create(
                APIBINDINGS, obj("APIBinding", APIBINDINGS.api_version, name=name, namespace="", spec=spec)
            )
            await until(lambda: client.get(APIBINDINGS, name), "it is bound", holds=_is_bound, within=WITHIN, pause=0.2)

    await asyncio.gather(*(bind(running.admin.cluster(each)) for each in paths))


def _is_bound(binding: Found) -> bool:
    return bool((binding.get("status") or {}).get("phase") == "Bound")


async def _discovered(running: Tree, folder: Path, using: set[str]) -> float:
    """Seconds until a discovery with a NATS of its own knows these, and that these are all, from its start."""
    async with AsyncExitStack() as stack:
        nats = await stack.enter_async_context(NatsServer(folder))
        env = {**os.environ, **ENV, "MOORAGE_NATS_URL": nats.url, "MOORAGE_HUB": "kcp", "MOORAGE_ROOTS": ACME}
        env["MOORAGE_EXPORT"] = EXPORT
        env["MOORAGE_KUBECONFIG"] = str(running.server.kubeconfigs["worker-discovery"])
        began = time.perf_counter()
        await stack.enter_async_context(process(["moorage", "worker", "discovery"], env))
        bus, store = await connect("bench", NatsSettings(nats_url=nats.url))
        stack.push_async_callback(bus.close)
        view = Table(store, buckets.WORKSPACES).follow()
        following = asyncio.create_task(view.run())
        stack.callback(following.cancel)
        async with asyncio.timeout(WITHIN):
            async for _ in view.changes():
                known = {each.value.path: each.value.root for each in view.entries.values()}
                if known.get(ACME) and known.keys() >= using:
                    break
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--placements", type=int, default=20)
    parser.add_argument("--workspaces", type=int, default=200)
    parser.add_argument("--idle", type=float, default=60.0, help="seconds (default: 60)")
    parser.add_argument("--hubs", default="sandbox,kcp", help="which of them (default: both)")
    args = parser.parse_args()
    logging.getLogger("moorage").setLevel(logging.ERROR)  # a new discovery makes its streams a moment later
    for hub in args.hubs.split(","):
        if hub == "kcp" and not os.environ.get(PROGRAM):
            print(f"kcp: left out, {PROGRAM} names no kcp")
        else:
            asyncio.run(run(hub, args.placements, args.workspaces, args.idle))


if __name__ == "__main__":
    main()
