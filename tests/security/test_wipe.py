"""A wipe of NATS is noticed: within seconds workers are not ready and say why, make again what they may, rebuild it."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from services import PIPELINE
from services.registry import load
from shared.broker.nats.client import NatsClient
from shared.broker.nats.store import NatsStore, bucket_name
from shared.broker.store import Bucket
from shared.broker.table import Table
from shared.hub.resources import PLACEMENTS, POLICIES, QUOTAS, WORKLOAD_KINDS
from shared.pipeline import topology
from shared.pipeline.buckets import BUCKETS, CHARGES, HEADS, REPORTS, RESERVATIONS
from tests.e2e.system import DEPLOYMENTS, System, running_system, until
from tests.e2e.test_preemption import URGENT, let_preempt
from tests.support import worlds
from tests.support.manifests import policy
from tests.support.process import http_get
from tests.support.secured import provision, secured

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.long,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("e2e"),
]

BRISK = {
    "MOORAGE_PROBE_INTERVAL_SECONDS": "1",
    "MOORAGE_RESYNC_SECONDS": "5",
    "MOORAGE_COUNT_SECONDS": "1",
    "MOORAGE_SWEEP_SECONDS": "1",
    "MOORAGE_PREEMPTION": "true",
    "MOORAGE_PREEMPTION_SECONDS": "3600",
}
NOTICED = 30.0  # seconds, on a busy machine
COMPLAINTS = 150  # lines of one worker: it complained 8,000 times in 43 s once
GUEST = "newcomer"  # is placed and goes again
CLONE_SET = {
    "apiVersion": WORKLOAD_KINDS.api_version,
    "kind": WORKLOAD_KINDS.kind,
    "metadata": {"name": "clonesets.apps.kruise.io"},
    "spec": {"group": "apps.kruise.io", "kind": "CloneSet", "pods": [{"template": "spec.template"}]},
}
QUOTA = {
    "apiVersion": QUOTAS.api_version,
    "kind": QUOTAS.kind,
    "metadata": {"name": "team"},
    "spec": {"workspace": "team", "hard": {"cpu": "10000"}},
}
ORG = "root:org"
TEAM = "root:org:team"
LAST = "cluster-002"
THERE = {"targets": {"selector": {"matchLabels": {"number": "2"}}}}
REBUILT = [bucket for bucket in BUCKETS if bucket.owner != "intake"]
"""What intake remembers of requests is in no object: once lost, a request that is asked again is carried out again."""
RULE = {"name": "ready", "expression": "target.ready"}


def world() -> dict[str, Any]:
    """Three targets, for a team in an organization that bounds it."""
    alice = {"name": worlds.USER, "groups": ["team"], "workspaces": {TEAM: "admin", worlds.PLATFORM: "none"}}
    return {**worlds.world(3, cpu="8"), "workspaces": [worlds.PLATFORM, ORG, TEAM], "users": [alice]}


async def fill(system: System) -> None:
    """Something in every bucket."""
    await system.user.create(POLICIES, policy("sound", RULE))
    await system.user.create(WORKLOAD_KINDS, CLONE_SET)
    await system.admin.cluster(ORG).create(QUOTAS, QUOTA)
    await let_preempt(system)
    await system.place_app("web", count=2)
    await system.place_app("huge", cpu="1000")
    await until(lambda: system.ready("web"), "web is Ready")
    await system.place_app("old", cpu="6", **THERE)
    await until(lambda: system.ready("old"), "old is Ready")
    stays = {"metadata": {"finalizers": ["example.com/stays"]}}  # so that whoever has to leave does not
    await system.targets[LAST].merge_patch(DEPLOYMENTS, "old", stays, worlds.NAMESPACE)
    await system.place_app("urgent", cpu="6", **THERE, **URGENT)

    async def refused() -> bool:
        return (await system.status("huge")).get("phase") == "Unschedulable"

    await until(refused, "huge is Unschedulable")


async def contents(client: NatsClient, bucket: Bucket[Any]) -> dict[str, Any]:
    """What a bucket says, without what differs from one time to the next."""
    found = {}
    for entry in await Table(NatsStore(client), bucket).entries():
        if GUEST in entry.key.split("."):
            continue
        match bucket.name:
            case RESERVATIONS.name:
                if not entry.value.released_at:
                    found[entry.key] = entry.value.resources
            case CHARGES.name:
                if not entry.value.released_at and not entry.value.until:  # what is held is charged as it is held anew
                    found[entry.key] = entry.value.resources
            case HEADS.name:
                found[entry.key] = entry.value.head.uid
            case REPORTS.name:
                found[entry.key] = (entry.value.phase, [each.health for each in entry.value.objects])
            case _:
                found[entry.key] = True
    return found


async def unready(system: System) -> dict[str, str]:
    """Why workers are not ready, by name."""
    said = {}
    for name in PIPELINE:
        status, body = await http_get(int(str(system.running.children[name].said["health_port"])), "/readyz")
        if status != 200:
            said[name] = body
    return said


def says(why: str, name: str) -> bool:
    """Whether a worker that is not ready names its stream, its consumers and the buckets that it follows."""
    buckets = [f"bucket {bucket.name}" for bucket in load(name).follows]
    return all(each in why for each in ("stream MOORAGE_PIPELINE", f"consumer {name}-", *buckets))


def complaints(system: System) -> dict[str, int]:
    logs = Path(system.running.place.logs)
    count = {}
    for name in PIPELINE:
        lines = (logs / f"{name}.log").read_text().splitlines()
        records = [json.loads(line) for line in lines if line.startswith("{")]
        count[name] = len([each for each in records if each.get("level") in ("warning", "error")])
    return count


async def wipe(client: NatsClient) -> None:
    for stream in (await client.api("STREAM.NAMES"))["streams"]:
        await client.api(f"STREAM.DELETE.{stream}")


async def uids(system: System) -> dict[str, str]:
    found = {}
    for target in await system.placed("web"):
        found[target] = (await system.targets[target].get(DEPLOYMENTS, "web", worlds.NAMESPACE))["metadata"]["uid"]
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """Workers that may make streams themselves."""
    async with running_system(tmp_path_factory.mktemp("wipe"), world(), env=BRISK) as found:
        await fill(found)
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(system: System) -> AsyncIterator[NatsClient]:
    client = await NatsClient.connect(system.place.nats, name="test")
    yield client
    await client.close()


async def as_it_is(client: NatsClient) -> dict[str, dict[str, Any]]:
    """All buckets, once each holds something, and it is told of the one that has to leave that it is on its way."""

    async def full() -> dict[str, dict[str, Any]] | None:
        found = {bucket.name: await contents(client, bucket) for bucket in REBUILT}
        leaving = [phase for phase, _ in found[REPORTS.name].values() if phase == "Removing"]
        return found if all(found.values()) and leaving else None

    found: dict[str, dict[str, Any]] = await until(full, "something is in every bucket")
    return found


async def test_workers_that_lose_every_stream_and_bucket_rebuild_the_same_world_without_a_restart(
    system: System, client: NatsClient
) -> None:
    before, running, pids = await as_it_is(client), await uids(system), dict(system.running.place.pids)
    said = complaints(system)
    await wipe(client)
    await system.place_app(GUEST)
    await until(lambda: system.ready(GUEST), "the newcomer is Ready")
    await until(lambda: system.ready("web"), "web is Ready")
    assert await uids(system) == running
    await system.user.delete(PLACEMENTS, GUEST, worlds.NAMESPACE)
    await rebuilt(client, before)
    assert {name: child.pid for name, child in system.running.children.items()} == pids
    assert not await unready(system)
    more = {name: count - said[name] for name, count in complaints(system).items()}
    assert max(more.values()) < COMPLAINTS, more


async def rebuilt(client: NatsClient, before: dict[str, dict[str, Any]]) -> None:
    async def same() -> bool:
        now = {bucket.name: await contents(client, bucket) for bucket in REBUILT}
        differences.clear()
        differences.update({key: (before[key], now[key]) for key in before if before[key] != now[key]})
        return not differences

    differences: dict[str, Any] = {}
    try:
        await until(same, "all buckets are as they were")
    except AssertionError:
        raise AssertionError(differences) from None


@pytest.mark.parametrize("how", ["deleted", "purged"])
@pytest.mark.parametrize("bucket", REBUILT, ids=lambda bucket: bucket.name)
async def test_a_bucket_that_was_lost_alone_is_rebuilt_by_its_owner(
    system: System, client: NatsClient, bucket: Bucket[Any], how: str
) -> None:
    await until(lambda: system.ready("web"), "web is Ready")
    before, running = await as_it_is(client), await uids(system)
    verb = "DELETE" if how == "deleted" else "PURGE"
    await client.api(f"STREAM.{verb}.KV_{bucket_name(bucket)}")
    await rebuilt(client, before)
    assert await uids(system) == running


async def test_workers_that_may_not_make_streams_say_what_is_missing_and_wait_for_it(tmp_path: Path) -> None:
    async with secured(tmp_path / "secured") as nats, nats.client("admin") as admin:
        env_of = {name: nats.environment(name) for name in PIPELINE}
        async with running_system(tmp_path, world(), nats=nats.server.url, env_of=env_of, env=BRISK) as system:
            await fill(system)
            before, running = await as_it_is(admin), await uids(system)
            said = complaints(system)
            await wipe(admin)

            async def unsaid() -> dict[str, str]:
                said = await unready(system)
                return {name: said.get(name, "ready") for name in PIPELINE if not says(said.get(name, ""), name)}

            await until(unsaid, "no worker is ready, and all say why", holds=lambda them: not them, within=NOTICED)
            await asyncio.sleep(10.0)  # it is how much they say meanwhile that counts
            more = {name: count - said[name] for name, count in complaints(system).items()}
            assert max(more.values()) < COMPLAINTS, more
            await provision(admin)

            async def all_ready() -> bool:
                return not await unready(system)

            await until(all_ready, "all workers are ready", within=NOTICED)
            await rebuilt(admin, before)
            assert await uids(system) == running


@pytest.mark.parametrize("worker", PIPELINE)
async def test_a_worker_whose_consumer_is_deleted_gets_it_again(
    system: System, client: NatsClient, worker: str
) -> None:
    for consumer in topology.consumers(load(worker)):
        await client.api(f"CONSUMER.DELETE.{consumer.stream}.{consumer.name}")

    async def there() -> bool:
        consumers = topology.consumers(load(worker))
        names = [await client.api(f"CONSUMER.NAMES.{stream}") for stream in {each.stream for each in consumers}]
        return {each.name for each in consumers} <= {name for found in names for name in found["consumers"]}

    await until(there, "its consumers are there again", within=NOTICED)
    name = f"after-{worker}"
    await system.place_app(name)
    await until(lambda: system.ready(name), f"{name} is Ready")
