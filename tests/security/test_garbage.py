"""Garbage in a bucket is treated as absence, at its revision: nobody stops at it, and its owner writes over it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import msgspec.inspect
import pytest

from services.decision.completeness import MARKER, Completeness
from services.decision.kubernetes import Decisions
from services.decision.ledger import key_of
from services.decision.rebuild import keep_complete, rebuild
from services.sandbox.run import serve
from services.sandbox.world.world import World
from shared.api.generate.crds import crd
from shared.api.resources import RESOURCES
from shared.broker.memory.bus import MemoryBus
from shared.broker.memory.store import MemoryStore
from shared.broker.nats.client import NatsClient
from shared.broker.nats.server import NatsServer
from shared.broker.nats.store import NatsStore
from shared.broker.store import Bucket, Conflict, Store
from shared.broker.table import Table
from shared.broker.tokens import join
from shared.hub.hub import Hub
from shared.hub.resources import DECISIONS
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.resources import CRDS, NAMESPACES
from shared.model.refs import PlacementRef
from shared.model.target import Workspace
from shared.pipeline.buckets import BUCKETS, RESERVATIONS, WORKSPACES
from shared.pipeline.runtime import Runtime
from shared.process.settings import Settings
from tests.support.golden import sample

BOUND = 20.0
GOLDEN = json.loads((Path(__file__).parents[1] / "golden/0.1.0.json").read_text())["samples"]

GARBAGE = {
    "JSON of another type": b'["not", "what", "was", "meant"]',
    "an object of another type": b'{"type": "Assigned", "target": 7}',
    "truncated JSON": b'{"placement": {"workspace": "root:a", "na',
    "nothing": b"",
    "binary": bytes(range(256)),
    "huge": b"[" + b"0," * 400_000 + b"0]",
    "nested without end": b"[" * 200_000,
    "a number": b"1e999",
}


def good(bucket: Bucket[Any]) -> Any:
    found = GOLDEN.get(bucket.holds.__name__)
    return msgspec.convert(sample(msgspec.inspect.type_info(bucket.holds)) if found is None else found, bucket.holds)


def key(bucket: Bucket[Any], name: str = "web") -> str:
    return ".".join(["root"] * (bucket.tokens - 1) + [name])


async def written_over(store: Store, bucket: Bucket[Any], garbage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    table, raw, value = Table(store, bucket), store.raw(bucket), good(bucket)
    view = table.follow()
    following = asyncio.create_task(view.run())
    spoilt, neighbour = key(bucket), key(bucket, "neighbour")
    before = await table.put(spoilt, value)
    await table.put(neighbour, value)
    caplog.clear()
    revision = await raw.put(spoilt, garbage)
    assert await view.reached(revision, BOUND)
    for _ in range(3):
        assert await table.get(spoilt) is None
    assert [entry.key for entry in await table.entries()] == [neighbour]
    assert [each.getMessage() for each in caplog.records if each.name == "moorage.state"] == ["entry counts as absent"]
    assert set(view.entries) == {neighbour}
    assert view.unreadable == {spoilt: revision}
    with pytest.raises(Conflict):
        await table.update(spoilt, value, before)
    if "." in spoilt:  # who sums up a group must not write as if the part that cannot be read were not there
        group = spoilt.rpartition(".")[0]
        newest = max(entry.revision for entry in await table.entries(group))
        with pytest.raises(Conflict):
            await table.update(key(bucket, "third"), value, newest, within=group)
    mended = await table.update(spoilt, value, 0)
    assert await view.reached(mended, BOUND)
    assert view.get(spoilt) == value
    assert not view.unreadable
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize("bucket", BUCKETS, ids=lambda bucket: bucket.name)
async def test_garbage_counts_as_absence_and_is_written_over(
    bucket: Bucket[Any], garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    await written_over(MemoryStore(), bucket, garbage, caplog)


async def test_garbage_counts_as_absence_in_every_bucket_of_a_real_server(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with NatsServer(tmp_path / "nats") as server:
        client = await NatsClient.connect(server.url, name="test")
        for garbage in GARBAGE.values():
            store = NatsStore(client)
            for bucket in BUCKETS:
                await store.provision((bucket,))
                await written_over(store, bucket, garbage, caplog)
                await client.api(f"STREAM.DELETE.KV_moorage-{bucket.name}")
        await client.close()


@pytest.mark.parametrize("odd", ["root", "root.a.b.c.d.e", "root.=FF", "=FF"])
@pytest.mark.parametrize("bucket", [bucket for bucket in BUCKETS if bucket.tokens > 1], ids=lambda bucket: bucket.name)
async def test_an_entry_under_a_key_that_names_nothing_counts_as_absent(bucket: Bucket[Any], odd: str) -> None:
    store = MemoryStore()
    table = Table(store, bucket)
    await store.raw(bucket).put(odd, msgspec.json.encode(good(bucket)))
    assert await table.get(odd) is None
    assert await table.entries() == []


async def test_a_reservation_that_turned_into_garbage_is_made_anew_from_what_was_decided(tmp_path: Path) -> None:
    """Also while the worker runs; what nobody decided is deleted, since it would block its target."""
    async with (
        serve(World(workspaces=["root:team"], serves=[]), "127.0.0.1", 0, tmp_path) as sandbox,
        Client(load_kubeconfig(sandbox.kubeconfigs["admin"])) as client,
    ):
        hub = Hub(client, "kcp")
        decisions, ref = Decisions(hub), PlacementRef(workspace="root:team", namespace="apps", name="web")
        await decided(hub.at("root:team"), ref)
        store = MemoryStore()
        await Table(store, WORKSPACES).put(join("root"), Workspace(path="root", root=True))
        await Table(store, WORKSPACES).put(join("root:team"), Workspace(path="root:team"))
        table, raw = Table(store, RESERVATIONS), store.raw(RESERVATIONS)
        own, junk = key_of("root:platform/east", ref), key(RESERVATIONS, "junk")
        async with asyncio.timeout(BOUND), asyncio.TaskGroup() as tasks:
            runtime = Runtime(Settings(), MemoryBus(), store, tasks)
            await rebuild(runtime, table, decisions)
            expected = await table.get(own)
            assert expected is not None
            runtime.background(keep_complete(runtime, table, decisions, Completeness(table)), "keep complete")
            view = await runtime.follow(RESERVATIONS)
            for spoilt in (own, junk, MARKER):
                revision = await raw.put(spoilt, b"garbage")
                await view.reached(revision, BOUND)
                while view.unreadable or MARKER not in view.entries:
                    await view.moved(view.revision)
            found = await table.get(own)
            assert found is not None
            assert found.value == expected.value
            assert await raw.get(junk) is None
            await runtime.end()


async def decided(team: Client, ref: PlacementRef) -> None:
    for resource in RESOURCES:
        await team.apply(CRDS, crd(resource))
    await team.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ref.namespace}})
    metadata = {"name": ref.name, "namespace": ref.namespace}
    selected = {"target": {"workspace": "root:platform", "name": "east"}, "reserved": {"cpu": 2.5}}
    status = {"attempt": 3, "selected": [selected]}
    decision = {"apiVersion": DECISIONS.api_version, "kind": DECISIONS.kind, "metadata": metadata, "status": status}
    await team.create(DECISIONS, decision)
