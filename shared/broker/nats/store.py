"""The state in JetStream key-value buckets; laid out as other NATS clients and the `nats` tool read them."""

import logging
import time
import uuid
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from shared.broker.bus import ID_HEADER, BusError
from shared.broker.nats.answers import JetStreamError, api_answer, position_of, status_of
from shared.broker.nats.client import NatsClient
from shared.broker.nats.extent import Extent, extent, is_behind
from shared.broker.nats.pull import PullSettings
from shared.broker.nats.reader import LAST, StreamReader
from shared.broker.nats.streams import ensure_stream, stored, stream_info
from shared.broker.store import MOST_SINCE, Bucket, Conflict, Raw, RawBucket, Store
from shared.broker.subjects import check_key

if TYPE_CHECKING:
    from nats.aio.msg import Msg

log = logging.getLogger("moorage.nats")

LARGEST_VALUE = 1_000_000
"""Bytes; a message of a default server holds 1 MiB, headers included."""

WRONG_LAST_SEQUENCE = frozenset({10071, 10164})
TOMBSTONES_KEPT = "3600"  # seconds; a watcher that was away for longer finds the key gone when it reads all again
DIRECT_LIMIT = "413"  # a direct get answers at most 1,024 subjects


class NatsBucket(RawBucket):
    """One bucket; see the port."""

    def __init__(self, client: NatsClient, name: str, pull: PullSettings) -> None:
        self._client = client
        self._stream = f"KV_{name}"
        self._prefix = f"$KV.{name}."
        self._pull = pull

    async def get(self, key: str) -> Raw | None:
        raw = await self._last(self._prefix + check_key(key))
        return None if raw is None or raw.value is None else raw

    async def put(self, key: str, value: bytes) -> int:
        return await self._write(key, value, {})

    async def update(self, key: str, value: bytes, revision: int, *, within: str | None = None) -> int:
        group = self._below(within) if within is not None else self._prefix + check_key(key)
        try:
            return await self._write(key, value, _expecting(revision, group))
        except Conflict:
            last = await self._last(group) if within is None and revision == 0 else None
            if last is None or last.value is not None:
                raise
            return await self._write(key, value, _expecting(last.revision, group))  # what is there is a deletion

    async def delete(self, key: str, revision: int | None = None) -> int:
        headers = {"KV-Operation": "DEL", "Nats-TTL": TOMBSTONES_KEPT}
        if revision is not None:
            headers |= _expecting(revision, self._prefix + key)
        return await self._write(key, b"", headers)

    async def entries(self, prefix: str = "") -> list[Raw]:
        found = await self._direct_get({"multi_last": [self._below(prefix)]})
        if found is None:
            return await self._entries_by_consumer(prefix)
        return [raw for raw in found if raw.value is not None]

    async def since(self, revision: int, prefix: str = "") -> list[Raw]:
        asked = {"seq": revision + 1, "next_by_subj": self._below(prefix), "batch": MOST_SINCE}
        return await self._direct_get(asked) or []

    async def newest(self) -> int:
        last = await self._last(self._below(""))
        return 0 if last is None else last.revision

    async def size(self) -> int | None:
        info = await stream_info(self._client, self._stream)
        return None if info is None else int(info["state"]["messages"])

    async def watch(self) -> AsyncGenerator[Raw | None, None]:
        known: dict[str, int] = {}  # what was delivered as present
        synced = False
        in_vain = 0
        while True:
            there = await extent(self._client, self._stream)
            async with StreamReader(self._client, self._stream, self._below(""), LAST, self._pull) as reader:
                if synced:
                    found = [self._delivered(message) async for message in reader.present()]
                    if reader.lost or await self._is_behind(found, there, in_vain=in_vain):
                        in_vain += 1
                        continue
                    # First what is not there any more: it was lost, or deleted so long ago that its tombstone is gone.
                    for key in known.keys() - {raw.key for raw in found}:
                        yield Raw(key, None, known.pop(key))
                    for raw in found:
                        if known.get(raw.key) != raw.revision if raw.value is not None else raw.key in known:
                            yield _remember(known, raw)
                else:
                    read = Extent()
                    async for message in reader.present():
                        raw = self._delivered(message)
                        read = read.with_one(raw.revision)
                        yield _remember(known, raw)
                    everything = self._below("")
                    if reader.lost or await is_behind(self._client, self._stream, everything, read, there, in_vain):
                        in_vain += 1
                        continue
                    synced = True
                    yield None
                in_vain = 0
                async for message in reader.changes():
                    yield _remember(known, self._delivered(message))

    async def _entries_by_consumer(self, prefix: str) -> list[Raw]:
        in_vain = 0
        while True:
            there = await extent(self._client, self._stream)
            async with StreamReader(self._client, self._stream, self._below(prefix), LAST, self._pull) as reader:
                found = [self._delivered(message) async for message in reader.present()]
                if not reader.lost and not await self._is_behind(found, there, prefix, in_vain):
                    return [raw for raw in found if raw.value is not None]
                in_vain += 1

    async def _is_behind(self, found: list[Raw], there: Extent, prefix: str = "", in_vain: int = 0) -> bool:
        read = Extent(len(found), max((raw.revision for raw in found), default=0))
        before = there._replace(messages=0) if prefix else there
        return await is_behind(self._client, self._stream, self._below(prefix), read, before, in_vain)

    async def _direct_get(self, request: Mapping[str, Any]) -> list[Raw] | None:
        """Messages from any copy of the stream, deletions among them; None where they are too many."""
        subject = self._client.api_subject(f"DIRECT.GET.{self._stream}")
        messages = await self._client.request_many(subject, msgspec.json.encode(request))
        status = status_of(messages[-1])
        if status == DIRECT_LIMIT:
            return None
        if status not in ("204", "404"):
            raise BusError(f"{self._stream}: status {status}")
        return [self._stored(message) for message in messages[:-1]]

    async def _last(self, subject: str) -> Raw | None:
        found = await stored(self._client, self._stream, {"last_by_subj": subject})
        if found is None:
            return None
        value = None if _is_deletion(found.headers) else found.payload
        return Raw(found.subject.removeprefix(self._prefix), value, found.sequence)

    async def _write(self, key: str, value: bytes, headers: Mapping[str, str]) -> int:
        if len(value) > LARGEST_VALUE:
            raise ValueError(f"value of {len(value)} bytes under {key}: a bucket holds at most {LARGEST_VALUE}")
        subject, write, resends = self._prefix + check_key(key), uuid.uuid4().hex, self._client.resends
        try:
            answer = api_answer(await self._client.request(subject, value, {**headers, ID_HEADER: write}))
        except JetStreamError as error:
            if error.code not in WRONG_LAST_SEQUENCE:
                raise
            # When the answer to the first attempt was lost, the second one conflicts with the first.
            if resends != self._client.resends and (own := await self._written(subject, write)):
                return own
            raise Conflict(f"{key}: {error}") from None
        return int(answer["seq"])

    async def _written(self, subject: str, write: str) -> int | None:
        """The revision of the last write, if it is the one with this id."""
        found = await stored(self._client, self._stream, {"last_by_subj": subject})
        return found.sequence if found is not None and found.headers.get(ID_HEADER) == write else None

    def _below(self, prefix: str) -> str:
        return f"{self._prefix}{prefix}.>" if prefix else f"{self._prefix}>"

    def _stored(self, message: "Msg") -> Raw:
        """From a direct get, which answers subject and sequence as headers."""
        headers = message.headers or {}
        return self._raw(headers["Nats-Subject"], message, int(headers["Nats-Sequence"]))

    def _delivered(self, message: "Msg") -> Raw:
        """From a consumer, which answers the sequence in the reply subject."""
        return self._raw(message.subject, message, position_of(message.reply).stream)

    def _raw(self, subject: str, message: "Msg", revision: int) -> Raw:
        value = None if _is_deletion(message.headers or {}) else message.data
        return Raw(subject.removeprefix(self._prefix), value, revision)


def _is_deletion(headers: Mapping[str, str]) -> bool:
    return "KV-Operation" in headers or "Nats-Marker-Reason" in headers


class NatsStore(Store):
    """Buckets on a NATS connection, which may be shared with the bus."""

    def __init__(self, client: NatsClient, *, replicas: int = 1, pull: PullSettings | None = None) -> None:
        self._client = client
        self._replicas = replicas
        self._pull = pull or PullSettings()

    async def provision(self, buckets: tuple[Bucket[Any], ...]) -> None:
        for bucket in buckets:
            await ensure_stream(self._client, bucket_config(bucket, self._replicas, int(time.time() * 1000)))

    def raw(self, bucket: Bucket[Any]) -> NatsBucket:
        return NatsBucket(self._client, bucket_name(bucket), self._pull)


def bucket_name(bucket: Bucket[Any]) -> str:
    """The name in NATS."""
    return f"moorage-{bucket.name}"


def bucket_config(bucket: Bucket[Any], replicas: int, first_revision: int) -> dict[str, Any]:
    """A bucket as a JetStream stream. Revisions start at `first_revision`: when that is the time in milliseconds, they
    go on growing even when the bucket is deleted and made again, and whoever has seen an old one is not misled."""
    name = bucket_name(bucket)
    return {
        "name": f"KV_{name}",
        "description": bucket.description,
        "subjects": [f"$KV.{name}.>"],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "max_msgs_per_subject": 1,
        "max_bytes": bucket.max_bytes,
        "max_age": int(bucket.max_age * 1e9),
        "duplicate_window": int(120e9),
        "num_replicas": replicas,
        "first_seq": first_revision,
        "allow_direct": True,
        "allow_rollup_hdrs": False,  # by one such header whoever writes a key could empty the bucket
        "allow_msg_ttl": True,
        "deny_delete": True,
    }


def _expecting(revision: int, subject: str) -> dict[str, str]:
    return {
        "Nats-Expected-Last-Subject-Sequence": str(revision),
        "Nats-Expected-Last-Subject-Sequence-Subject": subject,
    }


def _remember(known: dict[str, int], raw: Raw) -> Raw:
    if raw.value is None:
        known.pop(raw.key, None)
    else:
        known[raw.key] = raw.revision
    return raw
