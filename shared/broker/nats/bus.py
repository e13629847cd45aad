"""The bus on NATS JetStream: limits retention, durable pull consumers, and a dead letter for what is given up."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

import msgspec

from shared.broker.bus import (
    ID_HEADER,
    Asked,
    Bus,
    BusError,
    Consumer,
    DeadLetter,
    Dealing,
    Delivery,
    Lag,
    Parking,
    Reply,
    Service,
    Stream,
    WaitingMessage,
    unwatched,
)
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
from shared.broker.nats.answers import JetStreamError, api_answer, status_of
from shared.broker.nats.blobs import CONFIG as BLOBS_CONFIG
from shared.broker.nats.blobs import Blobs
from shared.broker.nats.client import NatsClient
from shared.broker.nats.handing import Handing, NatsDelivery
from shared.broker.nats.listening import NatsListening
from shared.broker.nats.options import NatsOptions
from shared.broker.nats.pull import Pull, PullSettings
from shared.broker.nats.services import NatsService, check_size
from shared.broker.nats.streams import (
    ADVISORIES,
    NO_CONSUMER,
    NO_STREAM,
    ensure_consumer,
    ensure_stream,
    stored,
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


class NatsConsumption:
    """A consumer at work: a pull that is never larger than the room in a window, and what other copies hand on."""

    def __init__(
        self,
        bus: "NatsBus",
        consumer: Consumer,
        handle: "Callable[[Delivery], Awaitable[None]]",
        pull: PullSettings,
        dealing: Dealing | None,
        parking: Parking,
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
        self._handing: Handing | None = None
        if dealing is not None:
            self._handing = Handing(bus.client, consumer.name, dealing.copy)
        self._window = Window(
            bus,
            consumer,
            handle,
            on_room=self._pull.kick,
            dealing=dealing,
            hand_on=self._handing.hand_on if self._handing is not None else None,
            parking=parking,
        )

    async def start(self) -> None:
        if self._handing is not None:
            await self._handing.start(self._window.take, self._window.keep)
        await self._pull.start()

    async def drain(self, timeout: float) -> bool:
        """See the port. What was on its way and not begun is given back, so that another copy gets it at once."""
        self._window.close()
        deadline = asyncio.get_running_loop().time() + timeout
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                if self._handing is not None:
                    await self._handing.stop()
                await self._pull.stop()
        finished = await self._window.drain(max(0.0, deadline - asyncio.get_running_loop().time()))
        await self.abandon()
        with contextlib.suppress(BusError):
            await self._bus.client.flush()
        return finished

    async def abandon(self) -> None:
        """Stop at once and answer nothing, as a crash would."""
        if self._handing is not None:
            await self._handing.abandon()
        await self._pull.abandon()
        await self._window.abandon()
        self._bus.consumptions.discard(self)


class NatsBus(Bus):
    """The bus on a connection of its own (`connect`) or on one that is shared with the state."""

    name: ClassVar[str] = "nats"

    def __init__(self, client: NatsClient, pull: PullSettings | None = None) -> None:
        self.client = client
        self.consumptions: set[NatsConsumption | NatsService] = set()
        self._pull = pull or PullSettings()
        self.lags = {}
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
                info = await self.client.api(f"CONSUMER.INFO.{consumer.stream}.{consumer.name}")
                self.lags[consumer.name] = Lag(info["num_pending"], info["num_ack_pending"])
            except JetStreamError as error:
                if error.code not in (NO_CONSUMER, NO_STREAM):
                    raise
                self.lags.pop(consumer.name, None)
                found.append(f"consumer {consumer.name}")
        return found

    async def publish(self, subject: str, payload: bytes, *, id: str, headers: Mapping[str, str] | None = None) -> bool:
        self._check(subject, payload)
        async with self._outstanding:
            answer = await self.client.request(subject, payload, {**(headers or {}), ID_HEADER: id})
        return not api_answer(answer).get("duplicate", False)

    async def tell(self, subject: str, payload: bytes, *, headers: Mapping[str, str] | None = None) -> None:
        self._check(subject, payload)
        await self.client.send(subject, payload, headers=headers)

    async def listen(self, subject: str, take: Callable[[Asked], None], missed: Callable[[], None]) -> NatsListening:
        listening = NatsListening(self.client, subject, take, missed)
        await listening.start()
        return listening

    def _check(self, subject: str, payload: bytes) -> None:
        check_subject(subject)
        check_size(self.client, subject, payload)

    async def consume(
        self,
        consumer: Consumer,
        handle: "Callable[[Delivery], Awaitable[None]]",
        dealing: Dealing | None = None,
        parking: Parking = unwatched,
    ) -> NatsConsumption:
        consumption = NatsConsumption(self, consumer, handle, self._pull, dealing, parking)
        await consumption.start()
        self.consumptions.add(consumption)
        return consumption

    async def ask(
        self, subject: str, payload: bytes, *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> Reply:
        check_size(self.client, check_subject(subject), payload)
        return await self.client.ask(subject, payload, headers, timeout=timeout)

    async def serve(self, service: Service, handle: "Callable[[Asked], Awaitable[Reply]]") -> NatsService:
        serving = NatsService(self.client, service, handle, self.consumptions.discard)
        await serving.start()
        self.consumptions.add(serving)
        return serving

    async def newest_id(self, stream: str, subject: str) -> str:
        where = self.client.api_subject(f"DIRECT.GET.{stream}.{check_subject(subject)}")
        answer = await self.client.request(where, b"")
        status = status_of(answer)
        if status not in (None, "404"):
            raise BusError(f"the newest message on {subject}: the broker answers {status}")
        return (answer.headers or {}).get(ID_HEADER, "") if status is None else ""

    async def waiting(self, stream: str, subject: str, before: int) -> AsyncIterator[WaitingMessage]:
        following = 1
        while following < before:
            found = await stored(self.client, stream, {"seq": following, "next_by_subj": check_subject(subject)})
            if found is None or found.sequence >= before:
                return
            yield WaitingMessage(sequence=found.sequence, payload=found.payload, headers=dict(found.headers))
            following = found.sequence + 1

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
