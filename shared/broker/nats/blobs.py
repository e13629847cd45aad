"""Large payloads in a JetStream object store bucket; laid out as other NATS clients and the `nats` tool read it.

A payload is kept for as long as the pipeline's stream keeps the message that refers to it, a day; what is stored is
compressed (a round over 10,000 targets takes about a tenth), so that thousands of such rounds a day fit. Should the
bucket fill up all the same, the oldest payloads make room: their messages have been handled long ago, or are rejected
with a reason, while new ones go on.
"""

import asyncio
import base64
import hashlib
import json
import uuid
import zlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from shared.broker.bus import BusError
from shared.broker.nats.answers import api_answer, status_of
from shared.broker.nats.client import NatsClient

if TYPE_CHECKING:
    from nats.aio.msg import Msg

BUCKET = "moorage-payloads"
STREAM = f"OBJ_{BUCKET}"
KEPT = timedelta(hours=24)  # as long as a message may wait
FRESH = timedelta(hours=1)  # a younger payload is not stored again, since it will be kept for long enough
ENCODING = "zlib"
CHUNK = 128 * 1024  # bytes; the object store's own default
LARGEST = 64 << 20  # bytes of a payload; a round over 10,000 targets has 3 MB

CONFIG: dict[str, Any] = {
    "name": STREAM,
    "description": "Payloads that are too large for a message, by their SHA-256",
    "subjects": [f"$O.{BUCKET}.C.>", f"$O.{BUCKET}.M.>"],
    "retention": "limits",
    "storage": "file",
    "discard": "old",
    "max_age": int(KEPT.total_seconds() * 1e9),
    "max_bytes": 4 << 30,
    "allow_rollup_hdrs": False,  # by one such header whoever stores a payload could empty the bucket
    "allow_direct": True,
}


class Blobs:
    """Payloads by their SHA-256."""

    def __init__(self, client: NatsClient) -> None:
        self._client = client

    async def put(self, payload: bytes) -> str:
        """Store a payload, unless it is there whole and fresh; returns its SHA-256. Raises ValueError if too large."""
        if len(payload) > LARGEST:
            raise ValueError(f"a payload of {len(payload)} bytes: at most {LARGEST} are stored")
        name = hashlib.sha256(payload).hexdigest()
        present = await self._info(name)
        if present is not None and _age(present) < FRESH and await self._whole(present):
            return name
        place = uuid.uuid4().hex  # chunks of two writers must not mix, so each writes to its own subject
        packed = await asyncio.to_thread(zlib.compress, payload, 1)  # the fastest level: 10 ms per MB, off the loop
        chunks = [packed[start : start + CHUNK] for start in range(0, len(packed), CHUNK)]
        for number, chunk in enumerate(chunks):
            await self._publish(f"$O.{BUCKET}.C.{place}", chunk, {"Nats-Msg-Id": f"{place}:{number}"})
        info = {
            "name": name,
            "bucket": BUCKET,
            "nuid": place,
            "size": len(packed),
            "chunks": len(chunks),
            "mtime": datetime.now(UTC).isoformat(),
            "digest": f"SHA-256={base64.urlsafe_b64encode(hashlib.sha256(packed).digest()).decode()}",
            "options": {"max_chunk_size": CHUNK},
            "metadata": {"encoding": ENCODING},
        }
        await self._publish(_meta_subject(name), json.dumps(info).encode(), {})
        return name

    async def get(self, name: str) -> bytes:
        """A payload; raises `KeyError` when it is gone, incomplete, or nothing that `put` would have stored."""
        info = await self._info(name)
        if info is None or info["chunks"] * CHUNK > LARGEST + CHUNK:
            raise KeyError(name)
        parts: list[bytes] = []
        after = 0
        while len(parts) < info["chunks"]:
            messages = await self._chunks(info["nuid"], after)
            if not messages:
                raise KeyError(name)
            parts += [message.data for message in messages]
            after = int((messages[-1].headers or {})["Nats-Sequence"])
        payload = b"".join(parts)
        if (info.get("metadata") or {}).get("encoding") == ENCODING:  # an older version stored payloads as they are
            try:
                payload = await asyncio.to_thread(zlib.decompressobj().decompress, payload, LARGEST)
            except zlib.error:
                raise KeyError(name) from None
        if hashlib.sha256(payload).hexdigest() != name:
            raise KeyError(name)
        return payload

    async def _whole(self, info: dict[str, Any]) -> bool:
        """True if all chunks are there: they are older than what says so, and may have made room by now."""
        subject = self._client.api_subject(f"DIRECT.GET.{STREAM}")
        request = {"seq": 1, "next_by_subj": f"$O.{BUCKET}.C.{info['nuid']}", "batch": 1}
        messages = await self._client.request_many(subject, json.dumps(request).encode())
        return any((message.headers or {}).get("Nats-Msg-Id") == f"{info['nuid']}:0" for message in messages)

    async def _chunks(self, place: str, after: int) -> "list[Msg]":
        # Bounded, so that a slow connection is not written off for holding megabytes that we have yet to read.
        request = {"seq": after + 1, "next_by_subj": f"$O.{BUCKET}.C.{place}", "batch": 16}
        subject = self._client.api_subject(f"DIRECT.GET.{STREAM}")
        messages = await self._client.request_many(subject, json.dumps(request).encode())
        return [message for message in messages if status_of(message) is None]

    async def _info(self, name: str) -> dict[str, Any] | None:
        message = await self._client.request(self._client.api_subject(f"DIRECT.GET.{STREAM}.{_meta_subject(name)}"))
        status = status_of(message)
        if status == "404":
            return None
        if status is not None:
            raise BusError(f"object store {BUCKET}: status {status}")
        info: dict[str, Any] = json.loads(message.data)
        return None if info.get("deleted") else info

    async def _publish(self, subject: str, payload: bytes, headers: dict[str, str]) -> None:
        api_answer(await self._client.request(subject, payload, headers))


def _meta_subject(name: str) -> str:
    return f"$O.{BUCKET}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"


def _age(info: dict[str, Any]) -> timedelta:
    return datetime.now(UTC) - datetime.fromisoformat(info["mtime"])
