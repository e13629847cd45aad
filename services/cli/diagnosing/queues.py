"""What NATS has, held against what the workers' declarations ask for."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

from services.cli.diagnosing import replicas
from services.cli.diagnosing.copies import beats
from services.cli.diagnosing.faults import Checkup, FaultName, FoundFault, sorted_faults
from services.cli.diagnosing.load import QueueLook
from services.cli.support.broker import CONNECT_TIMEOUT
from shared.broker.bus import Bus, BusError, Consumer, Forbidden, Stream
from shared.broker.dead import DEAD_LETTERS
from shared.broker.nats.answers import JetStreamError
from shared.broker.nats.bus import NatsBus
from shared.broker.nats.client import LoginRefused, NatsClient
from shared.broker.nats.connection import connect
from shared.broker.nats.options import without_credentials
from shared.broker.store import Bucket, Store
from shared.kube.times import seconds
from shared.model.copy import Copy
from shared.pipeline import topology
from shared.pipeline.worker import Worker
from shared.process.settings import NatsSettings

LOOK_AGAIN = 1.0
"""Seconds until a worker that asks for nothing just now is looked at once more: it asks again as soon as it may."""
ANSWER_WITHIN = 10.0  # seconds
MOST_SKEW = 5.0  # seconds
NOBODY_LEADS = (
    10008  # JetStream's code for a cluster that has no leader: most of its servers are away, or just now chose
)
OURS = ("MOORAGE_", "KV_moorage-", "OBJ_moorage")
"""How the names of our streams begin, buckets among them; others may be in the same account."""


class Ill(Exception):
    """NATS cannot be asked: the fault that says why."""

    def __init__(self, fault: FoundFault) -> None:
        super().__init__(fault.message)
        self.fault = fault


@asynccontextmanager
async def opened(settings: NatsSettings) -> AsyncIterator[tuple[NatsBus, Store]]:
    """The connection. Raises Ill where there is none to be had, or JetStream does not answer."""
    url = without_credentials(settings.nats_url)

    def ill(name: FaultName, why: object) -> Ill:
        return Ill(FoundFault(fault=name, where=url, message=str(why)))

    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            bus, store = await connect("moorage-doctor", settings)
    except TimeoutError:
        raise ill("NatsUnreachable", f"no answer within {CONNECT_TIMEOUT:g} s") from None
    except LoginRefused as error:
        raise ill("NatsRefused", error) from None
    except BusError as error:
        raise ill("NatsUnreachable", error) from None
    assert isinstance(bus, NatsBus)
    try:
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                await bus.client.api("INFO")
        except Forbidden as error:
            raise ill("NatsForbidden", error) from None
        except (TimeoutError, BusError) as error:
            if isinstance(error, JetStreamError) and error.code == NOBODY_LEADS:
                raise ill("QuorumLost", error) from None
            raise ill("JetStreamUnavailable", str(error) or "JetStream does not answer") from None
        yield bus, store
    finally:
        await bus.close()


async def examine(
    bus: NatsBus, store: Store, workers: tuple[Worker, ...], *, lag: float, clock: Callable[[], float] = time.time
) -> Checkup:
    """All that is to be seen there. `lag`: seconds for which a message may wait. Raises BusError."""
    wanted = (*topology.streams(), *topology.received(workers))
    held, faults = await _copies_held(bus.client)
    if any(each.fault == "QuorumLost" for each in faults):  # what asks these streams would wait for long, in vain
        return Checkup(part="NATS", looked_at=held, faults=sorted_faults(faults))
    faults += await _missing(bus, store, wanted, workers)
    missing = {each.where for each in faults}
    consumers = [
        (worker, each)
        for worker in workers
        for each in topology.consumers(worker)
        if not {f"consumer {each.name}", f"stream {each.stream}"} & missing
    ]
    faults += await _consumers(bus.client, consumers, lag, clock)
    faults += await _dead(bus.client, missing)
    faults += await _clocks(bus.client, store, wanted, workers, missing, clock)
    looked_at = len(wanted) + len(consumers) + sum(len(topology.buckets(worker)) for worker in workers)
    return Checkup(part="NATS", looked_at=looked_at, faults=sorted_faults(faults))


async def _copies_held(client: NatsClient) -> tuple[int, list[FoundFault]]:
    """How many streams the servers tell of, and what is wrong with their copies and their room."""
    try:
        streams, seen = await _streams(client)
        again = seen
        if any(each.behind or not each.goes_on for each in seen):
            await asyncio.sleep(LOOK_AGAIN)
            streams, again = await _streams(client)
        account = await client.api("INFO")
    except JetStreamError as error:
        if error.code != NOBODY_LEADS:
            raise
        return 1, [FoundFault(fault="QuorumLost", where="JetStream", message=str(error))]
    found = [*replicas.faults_of(seen, again), *replicas.full_streams(streams)]
    most = account.get("limits", {}).get("max_storage", 0)
    return len(again), [*found, *replicas.full("account of NATS", account.get("storage", 0), most)]


async def _streams(client: NatsClient) -> tuple[list[dict[str, Any]], list[replicas.StreamCopies]]:
    """Each stream of ours as JetStream has it, and its copies; also of those that no server tells of."""
    found: list[dict[str, Any]] = []
    silent: list[str] = []
    told = True
    while told:
        page = await client.api("STREAM.LIST", {"offset": len(found) + len(silent)})
        streams, missing = page["streams"] or [], page.get("missing") or []
        found += streams
        silent += missing
        told = len(found) + len(silent) < page["total"] and bool(streams or missing)
    ours = [each for each in found if each["config"]["name"].startswith(OURS)]
    return ours, [*map(replicas.copies_of, ours), *(replicas.silent(each) for each in silent if each.startswith(OURS))]


async def looks(
    client: NatsClient, workers: tuple[Worker, ...], clock: Callable[[], float] = time.time
) -> tuple[QueueLook, ...]:
    """What waits for each consumer of these workers, which must be there. Raises BusError."""
    found = []
    for worker in workers:
        for each in topology.consumers(worker):
            info = await client.api(f"CONSUMER.INFO.{each.stream}.{each.name}")
            stored = await _oldest(client, each, info) if info.get("num_pending") else None
            found.append(
                QueueLook(
                    worker=worker.name,
                    consumer=each.name,
                    waiting=info.get("num_pending", 0),
                    in_hand=info.get("num_ack_pending", 0),
                    delivered=info["delivered"]["consumer_seq"],
                    oldest=None if stored is None else max(0.0, clock() - stored),
                )
            )
    return tuple(found)


async def _missing(
    bus: Bus, store: Store, streams: tuple[Stream, ...], workers: tuple[Worker, ...]
) -> list[FoundFault]:
    consumers = tuple(each for worker in workers for each in topology.consumers(worker))
    names: dict[str, FaultName] = {"stream": "StreamMissing", "consumer": "ConsumerMissing"}
    found = [
        FoundFault(fault=names[each.partition(" ")[0]], where=each, message="it is not there")
        for each in await bus.missing(streams, consumers)
    ]
    buckets = {each.name: each for worker in workers for each in topology.buckets(worker)}
    absent = [name for name, bucket in buckets.items() if await store.raw(bucket).size() is None]
    return found + [
        FoundFault(fault="BucketMissing", where=f"bucket {name}", message="it is not there") for name in absent
    ]


async def _consumers(
    client: NatsClient, consumers: list[tuple[Worker, Consumer]], lag: float, clock: Callable[[], float]
) -> list[FoundFault]:
    infos = [await client.api(f"CONSUMER.INFO.{each.stream}.{each.name}") for _, each in consumers]
    found = []
    for (_, consumer), info in zip(consumers, infos, strict=True):
        oldest = await _oldest(client, consumer, info) if info.get("num_pending") else None
        if oldest is not None and (waited := clock() - oldest) > lag:
            message = f"{info['num_pending']} messages wait, the oldest for {waited:.0f} s"
            found.append(FoundFault(fault="ConsumerLag", where=f"consumer {consumer.name}", message=message))
    idle = {worker.name for worker, _ in consumers} - {
        worker.name for (worker, _), info in zip(consumers, infos, strict=True) if _asks(info)
    }
    if idle:
        await asyncio.sleep(LOOK_AGAIN)
        for worker, each in consumers:
            if worker.name in idle and _asks(await client.api(f"CONSUMER.INFO.{each.stream}.{each.name}")):
                idle.discard(worker.name)
    said = "no copy asks NATS for messages"
    return found + [FoundFault(fault="WorkerAbsent", where=f"worker {name}", message=said) for name in sorted(idle)]


def _asks(info: dict[str, Any]) -> bool:
    """Whether somebody asks for messages of a consumer, or has some in hand."""
    return bool(info.get("num_waiting") or info.get("num_ack_pending"))


async def _oldest(client: NatsClient, consumer: Consumer, info: dict[str, Any]) -> float | None:
    """When the oldest message was stored that was not delivered yet; None where it has gone meanwhile."""
    after = int(info["delivered"]["stream_seq"]) + 1
    try:
        found = await client.api(f"STREAM.MSG.GET.{consumer.stream}", {"seq": after, "next_by_subj": consumer.subject})
    except BusError:
        return None
    return seconds(found["message"]["time"])


async def _dead(client: NatsClient, missing: set[str]) -> list[FoundFault]:
    if f"stream {DEAD_LETTERS.name}" in missing:
        return []
    state = (await client.api(f"STREAM.INFO.{DEAD_LETTERS.name}"))["state"]
    if not state["messages"]:
        return []
    message = f"{state['messages']} messages were given up, the last at {state['last_ts']}"
    return [FoundFault(fault="DeadLetters", where=f"stream {DEAD_LETTERS.name}", message=message)]


async def _clocks(
    client: NatsClient,
    store: Store,
    streams: tuple[Stream, ...],
    workers: tuple[Worker, ...],
    missing: set[str],
    clock: Callable[[], float],
) -> list[FoundFault]:
    """NATS' clock against ours, and those of workers that tell when they were there against NATS'."""
    found = []
    stream = next((each.name for each in streams if f"stream {each.name}" not in missing), None)
    if stream is not None:
        before = clock()
        there = seconds((await client.api(f"STREAM.INFO.{stream}"))["ts"])
        found += list(_skewed("NATS", there - (before + clock()) / 2, "that of this machine"))
    for worker in workers:
        for bucket in topology.owned(worker):
            if bucket.holds is Copy and f"bucket {bucket.name}" not in missing:
                found += [each async for each in _copies(client, store, bucket)]
    return found


async def _copies(client: NatsClient, store: Store, bucket: Bucket[Any]) -> AsyncIterator[FoundFault]:
    async for copy, stored in beats(client, store, bucket):
        for each in _skewed(f"{bucket.owner} {copy.name}", copy.beat_at - stored, "NATS'"):
            yield each


def _skewed(whose: str, by: float, compared: str) -> Iterator[FoundFault]:
    if abs(by) > MOST_SKEW:
        side = "ahead of" if by > 0 else "behind"
        message = f"its clock is {abs(by):.0f} s {side} {compared}"
        yield FoundFault(fault="ClockSkew", where=whose, message=message)
