"""The bus on NATS JetStream: limits retention, durable pull consumers, and a dead letter for what is given up."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

import msgspec

from shared.broker.bus import ID_HEADER, Bus, BusError, Consumer, DeadLetter, Delivery, Stream
from shared.broker.dead import (
    CAUSE_HEADER,
    CONSUMER_HEADER,
    DEAD,
    DEAD_STREAM,
    origin,
    replay_headers,
    replay_id,
    replay_to,
)
from shared.broker.nats.blobs import CONFIG as BLOBS_CONFIG
from shared.broker.nats.blobs import Blobs
from shared.broker.nats.client import JetStreamError, NatsClient, api_answer, status_of
from shared.broker.nats.options import NatsOptions
from shared.broker.nats.pull import Pull, PullSettings
from shared.broker.nats.streams import (
    ADVISORIES,
    NO_CONSUMER,
    NO_STREAM,
    ensure_consumer,
    ensure_stream,
    stream_config,
    stream_info,
)
from shared.broker.subjects import check_subject
from shared.broker.window import Window, at_once

if TYPE_CHECKING:
    from nats.aio.msg import Msg

log = logging.getLogger("moorage.nats")

OUTSTANDING = 512
"""Publishes that wait for the broker at the same time; more of them wait for their turn."""

HEADROOM = 4096
"""Bytes of the largest message that are left for headers."""


class NatsDelivery:
    """One message in hand; see the port."""

    def __init__(self, client: NatsClient, message: "Msg") -> None:
        self._client = client
        self._reply = message.reply
        self.subject = message.subject
        self.payload = message.data
        self.headers: Mapping[str, str] = message.headers or {}
        # $JS.ACK.<stream>.<consumer>.<deliveries>..., or the same after <domain>.<account>
        tokens = message.reply.split(".")
        self.attempt = int(tokens[4] if len(tokens) == 9 else tokens[6])

    async def ack(self) -> None:
        await self._client.send(self._reply, b"+ACK")

    async def nak(self, delay: float) -> None:
        wait = f' {{"delay": {int(delay * 1e9)}}}' if delay > 0 else ""
        await self._client.send(self._reply, b"-NAK" + wait.encode())

    async def terminate(self, reason: str) -> None:
        await self._client.send(self._reply, b"+TERM " + reason.encode())

    async def in_progress(self) -> None:
        await self._client.send(self._reply, b"+WPI")


class NatsConsumption:
    """A consumer at work: a pull that is never larger than the room in a window."""

    def __init__(
        self,
        bus: "NatsBus",
        consumer: Consumer,
        handle: "Callable[[Delivery], Awaitable[None]]",
        pull: PullSettings,
    ) -> None:
        self._bus = bus
        self._pull = Pull(
            bus.client,
            consumer.stream,
            consumer.name,
            take=lambda message: self._window.take(NatsDelivery(bus.client, message)),
            room=lambda: self._window.room,
            at_once=at_once(consumer),
            settings=pull,
        )
        self._window = Window(bus, consumer, handle, on_room=self._pull.kick)

    async def start(self) -> None:
        await self._pull.start()

    async def drain(self, timeout: float) -> bool:
        """See the port. What was on its way and not begun is given back, so that another copy gets it at once."""
        self._window.close()
        deadline = asyncio.get_running_loop().time() + timeout
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._pull.stop()
        finished = await self._window.drain(max(0.0, deadline - asyncio.get_running_loop().time()))
        await self.abandon()
        with contextlib.suppress(BusError):
            await self._bus.client.flush()
        return finished

    async def abandon(self) -> None:
        """Stop at once and answer nothing, as a crash would."""
        await self._pull.abandon()
        await self._window.abandon()
        self._bus.consumptions.discard(self)


class NatsBus(Bus):
    """The bus on a connection of its own (`connect`) or on one that is shared with the state."""

    name: ClassVar[str] = "nats"

    def __init__(self, client: NatsClient, pull: PullSettings | None = None) -> None:
        self.client = client
        self.consumptions: set[NatsConsumption] = set()
        self._pull = pull or PullSettings()
        self._outstanding = asyncio.Semaphore(OUTSTANDING)
        self._blobs = Blobs(client)

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        name: str,
        options: NatsOptions | None = None,
        connect_timeout: float = 2.0,
        on_wait: Callable[[str], None] | None = None,
    ) -> "NatsBus":
        """See `NatsClient.connect`: waits for NATS to be there, fails at once where waiting cannot help."""
        return cls(
            await NatsClient.connect(url, name=name, options=options, connect_timeout=connect_timeout, on_wait=on_wait)
        )

    async def provision(self, streams: tuple[Stream, ...], consumers: tuple[Consumer, ...]) -> None:
        replicas = max(
            (stream.replicas for stream in streams), default=1
        )  # what is ours is as safe as what is asked for
        for stream in (*streams, msgspec.structs.replace(ADVISORIES, replicas=replicas)):
            await ensure_stream(self.client, stream_config(stream))
        await ensure_stream(self.client, {**BLOBS_CONFIG, "num_replicas": replicas})
        for consumer in consumers:
            await ensure_consumer(self.client, consumer)

    async def missing(self, streams: tuple[Stream, ...], consumers: tuple[Consumer, ...]) -> list[str]:
        names = (*(stream.name for stream in streams), BLOBS_CONFIG["name"])
        found = [f"stream {name}" for name in names if await stream_info(self.client, name) is None]
        for consumer in consumers:
            try:
                await self.client.api(f"CONSUMER.INFO.{consumer.stream}.{consumer.name}")
            except JetStreamError as error:
                if error.code not in (NO_CONSUMER, NO_STREAM):
                    raise
                found.append(f"consumer {consumer.name}")
        return found

    async def publish(self, subject: str, payload: bytes, *, id: str, headers: Mapping[str, str] | None = None) -> bool:
        check_subject(subject)
        if len(payload) > self.client.max_payload - HEADROOM:
            raise ValueError(
                f"message of {len(payload)} bytes on {subject}: the broker takes {self.client.max_payload}"
            )
        async with self._outstanding:
            answer = await self.client.request(subject, payload, {**(headers or {}), ID_HEADER: id})
        return not api_answer(answer).get("duplicate", False)

    async def consume(self, consumer: Consumer, handle: "Callable[[Delivery], Awaitable[None]]") -> NatsConsumption:
        consumption = NatsConsumption(self, consumer, handle, self._pull)
        await consumption.start()
        self.consumptions.add(consumption)
        return consumption

    async def put_blob(self, payload: bytes) -> str:
        return await self._blobs.put(payload)

    async def get_blob(self, claim: str) -> bytes:
        return await self._blobs.get(claim)

    async def dead_letters(self, subject: str = ">") -> AsyncIterator[DeadLetter]:
        sequence = 0
        while True:
            request = {"seq": sequence + 1, "next_by_subj": f"{DEAD}.{subject}"}
            message = await self.client.request(
                self.client.api_subject(f"DIRECT.GET.{DEAD_STREAM}"), json.dumps(request).encode()
            )
            if status_of(message) is not None:
                return
            letter = _dead_letter(message)
            sequence = letter.sequence
            yield letter

    async def replay(self, letter: DeadLetter) -> None:
        await self.publish(replay_to(letter), letter.payload, id=replay_id(letter), headers=replay_headers(letter))
        with contextlib.suppress(JetStreamError):  # deleted already: then so it should be
            await self.client.api(f"STREAM.MSG.DELETE.{DEAD_STREAM}", {"seq": letter.sequence, "no_erase": True})

    def healthy(self) -> bool:
        return self.client.connected

    async def close(self) -> None:
        """Close at once; deliveries in hand are left unanswered and come again. `drain` first to end well."""
        for consumption in tuple(self.consumptions):
            await consumption.abandon()
        await self.client.close()


def _dead_letter(message: "Msg") -> DeadLetter:
    """A stored message as a direct get answers it: subject, sequence and time are headers."""
    headers = dict(message.headers or {})
    stored = {name: headers.pop(name) for name in ("Nats-Stream", "Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp")}
    return DeadLetter(
        sequence=int(stored["Nats-Sequence"]),
        subject=origin(stored["Nats-Subject"], headers),
        consumer=headers.get(CONSUMER_HEADER, ""),
        cause=headers.get(CAUSE_HEADER, ""),
        time=stored["Nats-Time-Stamp"],
        payload=message.data,
        headers=headers,
    )
