"""The side of workers: sockets that lead through tunnels to the servers of targets."""

import asyncio
import logging
import secrets
import socket
from collections import defaultdict
from typing import Final

import msgspec

from shared.aio.together import all_of
from shared.broker.bus import Asked, Bus, BusError, Listening, Unanswered
from shared.broker.tunnel import subjects
from shared.broker.tunnel.agent import Open, Opened, RollCall, Seen
from shared.broker.tunnel.frames import MOST_WINDOW, STREAM, WINDOW, frame
from shared.broker.tunnel.pipe import Pipe, Traffic

log = logging.getLogger("moorage.tunnel")

OPEN_WITHIN: Final = 10.0  # seconds, in which an agent dials
LOOK_EVERY: Final = 3.0  # seconds between two questions to an agent whether it is there
LOOK_WITHIN: Final = 10.0  # seconds in which it says so
_AT_ONCE: Final = 64  # agents that are asked


class NoAgent(BusError):
    """No stream can be had through a tunnel; the message says why."""


class Tunnels:
    """The streams of a process through all tunnels. Nothing is listened to before the first is opened."""

    def __init__(self, bus: Bus) -> None:
        self.traffic = Traffic()
        self._bus = bus
        self._name = secrets.token_hex(8)
        self._pipes: dict[tuple[str, bytes], Pipe] = {}
        self._agents: dict[tuple[str, bytes], str] = {}  # at which copy of the agent each of them is
        self._listening: Listening | None = None
        self._looking: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._pipes)

    async def connect(self, tunnel: str) -> socket.socket:
        """A connected socket to the server that the agent of a tunnel dials. Raises BusError."""
        await self._listen()
        key = tunnel, secrets.token_bytes(STREAM)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        pipe = self._pipes[key] = Pipe(key[1], theirs, lambda _: self._drop(key), self.traffic)
        try:
            opened = await self._open(tunnel, key[1])
        except BaseException:
            pipe.end("it was not opened", tell=False)
            ours.close()
            raise
        if pipe.broken:
            ours.close()
            raise NoAgent(f"the agent broke it off: {pipe.broken}")
        self._agents[key] = opened.agent
        subject = subjects.upward(tunnel, opened.agent)
        pipe.begin(lambda payload: self._bus.tell(subject, payload), opened.window)
        return ours

    async def _open(self, tunnel: str, stream: bytes) -> Opened:
        asked = msgspec.json.encode(Open(caller=self._name, stream=stream.hex(), window=WINDOW))
        try:
            reply = await self._bus.ask(subjects.opening(tunnel), asked, timeout=OPEN_WITHIN)
            opened = msgspec.json.decode(reply.payload, type=Opened)
        except Unanswered as error:
            if error.code == "Nobody":
                raise NoAgent("no agent of this target is connected to NATS") from None
            if error.code == "Timeout":
                raise NoAgent(f"the agent of this target did not answer within {OPEN_WITHIN:g} s") from None
            raise NoAgent(f"the agent of this target opens no connection: {printable(error)}") from None
        except msgspec.MsgspecError:
            raise NoAgent("what answers in place of the agent of this target is none") from None
        if not subjects.is_token(opened.agent) or not 0 < opened.window <= MOST_WINDOW:
            raise NoAgent("what answers in place of the agent of this target is none")
        return opened

    async def close(self) -> None:
        """Break all off."""
        async with self._lock:
            if self._looking is not None:
                self._looking.cancel()
                await asyncio.gather(self._looking, return_exceptions=True)
                self._looking = None
            if self._listening is not None:
                await self._listening.stop()
                self._listening = None
        self._missed("the worker ends")
        await asyncio.gather(*self.traffic.telling, return_exceptions=True)

    async def _listen(self) -> None:
        if self._listening is None:
            async with self._lock:
                if self._listening is None:
                    subject = subjects.downward("*", self._name)
                    self._listening = await self._bus.listen(subject, self._take, self._missed)
                    self._looking = asyncio.create_task(self._look(), name="look whether agents are there")

    def _take(self, told: Asked) -> None:
        """What an agent sent. It can speak only of streams of its own tunnel, which NATS holds it to."""
        found = frame(told.payload)
        if found is not None and (pipe := self._pipes.get((subjects.tunnel_of(told.subject), found.stream))):
            pipe.take(found)

    def _missed(self, why: str = "the connection to NATS was interrupted") -> None:
        for pipe in list(self._pipes.values()):
            pipe.end(why)

    def _drop(self, key: tuple[str, bytes]) -> None:
        self._pipes.pop(key, None)
        self._agents.pop(key, None)

    async def _look(self) -> None:
        """Ask each agent that has a stream of ours whether it is there: nobody else tells of one that died."""
        slots = asyncio.Semaphore(_AT_ONCE)
        while True:
            await asyncio.sleep(LOOK_EVERY)
            streams: dict[tuple[str, str], list[bytes]] = defaultdict(list)
            for (tunnel, stream), agent in self._agents.items():
                streams[tunnel, agent].append(stream)

            async def ask(tunnel: str, agent: str, known: list[bytes]) -> None:
                async with slots:
                    await self._ask(tunnel, agent, known)

            await all_of(*(ask(tunnel, agent, known) for (tunnel, agent), known in streams.items()))

    async def _ask(self, tunnel: str, agent: str, known: list[bytes]) -> None:
        opening = [stream for of, stream in self._pipes if of == tunnel and (of, stream) not in self._agents]
        asked = RollCall(caller=self._name, streams=[each.hex() for each in (*known, *opening)])
        try:
            reply = await self._bus.ask(
                subjects.looking(tunnel, agent), msgspec.json.encode(asked), timeout=LOOK_WITHIN
            )
            seen = msgspec.json.decode(reply.payload, type=Seen)
            lost = {bytes.fromhex(each) for each in seen.unknown} & set(known)
        except Unanswered as error:
            lost = set(known) if error.code in {"Nobody", "Timeout"} else set()
        except BusError:  # we have no connection, and end them all once we have one again
            return
        except (msgspec.MsgspecError, ValueError):
            lost = set(known)
        for stream in lost:
            if (pipe := self._pipes.get((tunnel, stream))) is not None:
                pipe.end("the agent of this target has it no more", tell=False)


def printable(error: Exception) -> str:
    """What an agent says, as it may be shown."""
    return "".join(each if each.isprintable() else "?" for each in str(error)[:200])
