"""The copies of workers that are at work, as their signs of life in NATS tell."""

import base64
from collections.abc import AsyncIterator, Iterable

import msgspec

from shared.broker.bus import BusError
from shared.broker.nats.client import NatsClient
from shared.broker.nats.store import bucket_name
from shared.broker.store import Bucket, Store
from shared.kube.errors import MALFORMED
from shared.kube.times import seconds
from shared.model.copy import Copy
from shared.pipeline.copies import GONE
from shared.pipeline.worker import Worker

_COPY = msgspec.json.Decoder(Copy)


class RunningCopy(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A copy of a worker that is at work. `version`: of its Moorage; empty where that is one that does not say so.
    `seen_seconds`: how long ago its last sign of life came, by NATS' clock.
    """

    worker: str
    copy: str
    version: str
    seen_seconds: float


async def running(client: NatsClient, store: Store, workers: Iterable[Worker]) -> tuple[RunningCopy, ...]:
    """All copies of these workers that gave a sign of life in the last seconds, as they are sorted. Raises BusError."""
    found = []
    for worker in workers:
        if worker.copies is None or await store.raw(worker.copies).size() is None:
            continue
        signs = [each async for each in beats(client, store, worker.copies)]
        now = seconds((await client.api(f"STREAM.INFO.KV_{bucket_name(worker.copies)}"))["ts"])
        found += [
            RunningCopy(worker=worker.name, copy=copy.name, version=copy.version, seen_seconds=max(0.0, now - stored))
            for copy, stored in sorted(signs, key=lambda each: each[0].name)
            if now - stored < GONE
        ]
    return tuple(found)


async def beats(client: NatsClient, store: Store, bucket: Bucket[Copy]) -> AsyncIterator[tuple[Copy, float]]:
    """The last sign of life of each copy, and when NATS stored it, in seconds since the epoch. What cannot be read is
    passed over, as workers do. Raises BusError.
    """
    for entry in await store.raw(bucket).entries():
        try:
            found = await client.api(f"STREAM.MSG.GET.KV_{bucket_name(bucket)}", {"seq": entry.revision})
        except BusError:  # it has told again meanwhile
            continue
        message = found["message"]
        try:
            copy = _COPY.decode(base64.b64decode(message.get("data", "")))
        except MALFORMED:
            continue
        yield copy, seconds(message["time"])
