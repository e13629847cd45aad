"""One process over the memory bus: handlers, sources, timers, superseded messages, draining."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from shared.api import PlacementSpec
from shared.broker.bus import BusError
from shared.broker.dead import CAUSE_HEADER
from shared.broker.memory.bus import MemoryBus
from shared.broker.memory.store import MemoryStore
from shared.broker.table import Table
from shared.broker.tokens import join
from shared.model.refs import PlacementRef
from shared.model.request import Cause, HeadEntry, Request
from shared.pipeline import topology
from shared.pipeline.buckets import BUCKETS, HEADS
from shared.pipeline.messages import Assigned, Discovered, Requested, Withdrawn, encode
from shared.pipeline.runner import Running, run
from shared.pipeline.runtime import Runtime
from shared.pipeline.worker import Worker
from shared.process.settings import Settings
from shared.process.tracing import TRACEPARENT, Telemetry, current_trace
from tests.support.values import head
from tests.support.waiting import until

REF = PlacementRef(workspace="root:a", namespace="n", name="p")
SPEC = msgspec.convert({"workload": [{"apiVersion": "v1", "kind": "Pod", "name": "x"}]}, PlacementSpec)
BOUND = 5.0


class ToySettings(Settings, frozen=True, kw_only=True):
    """A toy's."""

    tick_seconds: Annotated[float, Meta(description="How often it ticks.", gt=0)] = 0.01


@dataclass
class Toy:
    """What the toy worker remembers."""

    runtime: Runtime
    seen: list[int] = field(default_factory=list)
    traces: list[str] = field(default_factory=list)
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    closed: bool = False


def requested(attempt: int = 1) -> Requested:
    return Requested(request=Request(placement=REF, head=head(attempt), cause=Cause(code="Created"), spec=SPEC))


class Stage:
    """A worker under test, and the means to talk to it."""

    def __init__(self, **settings) -> None:
        self.bus, self.store = MemoryBus(), MemoryStore()
        self.settings = ToySettings(health_port=-1, **settings)
        self.stop = asyncio.Event()
        self.toys: list[Toy] = []
        self.worker = Worker("toy", "A toy", settings=ToySettings, open=self._open)
        self.started_up = asyncio.Event()
        self.ready: Running

    @asynccontextmanager
    async def _open(self, runtime: Runtime) -> AsyncIterator[Toy]:
        toy = Toy(runtime)
        self.toys.append(toy)
        yield toy
        toy.closed = True

    @asynccontextmanager
    async def started(self) -> AsyncIterator[Toy]:
        work = run(
            self.worker, self.settings, self.bus, self.store, stop=self.stop, telemetry=Telemetry("toy", {}),
            on_start=lambda running: setattr(self, "ready", running), on_ready=self.started_up.set,
        )  # fmt: skip
        task = asyncio.create_task(work)
        async with asyncio.timeout(BOUND):
            await self.started_up.wait()
            yield self.toys[0]
            self.stop.set()
            await task

    async def send(self, message, subject: str | None = None, payload: bytes | None = None, headers=None) -> None:
        await self.bus.publish(
            subject or message.subject(),
            encode(message) if payload is None else payload,
            id=message.id(),
            headers=headers,
        )

    async def dead(self) -> list[str]:
        return [letter.headers[CAUSE_HEADER] async for letter in self.bus.dead_letters()]


@pytest.fixture
def stage() -> Stage:
    found = Stage()

    @found.worker.handles()
    async def discover(message: Requested, deps: Toy) -> Discovered | None:
        deps.seen.append(message.at.attempt)
        deps.traces.append(current_trace())
        deps.entered.set()
        if message.at.attempt == 99:
            await deps.release.wait()
        if message.at.attempt == 50:
            return Discovered(request=message.request, targets=(), inventory_revision=0)
        return None

    return found


async def test_a_message_is_handled_and_what_comes_of_it_is_published_with_the_same_trace(stage):
    trace = "0af7651916cd43dd8448eb211c80319c"
    parent = f"00-{trace}-b7ad6b7169203331-01"
    collected: list = []

    async def collect(delivery) -> None:
        collected.append(delivery)

    async with stage.started() as toy:
        consumer = topology.Consumer(name="c", stream="MOORAGE_PIPELINE", subject="moorage.pipeline.discovered.>")
        await stage.bus.provision((), (consumer,))
        await stage.bus.consume(consumer, collect)
        await stage.send(requested(50), headers={TRACEPARENT: parent})
        await until(lambda: collected)
    assert toy.traces == [trace]
    assert collected[0].headers[TRACEPARENT] == parent
    assert collected[0].subject == "moorage.pipeline.discovered.root=3Aa.n.p"
    assert current_trace() == ""


async def test_garbage_is_parked_with_its_cause_and_the_worker_goes_on(stage):
    async with stage.started() as toy:
        await stage.send(requested(1), payload=b"\xff not json")
        await stage.send(requested(2))
        await until(lambda: 2 in toy.seen)
        await until(stage.dead)
    assert [cause for cause in await stage.dead() if "not a valid Requested" in cause]
    assert toy.seen == [2]


async def test_a_message_under_anothers_subject_is_rejected(stage):
    foreign = "moorage.pipeline.requested.root=3Aother.n.p"
    async with stage.started() as toy:
        await stage.send(requested(1), subject=foreign)
        await until(stage.dead)
    assert toy.seen == []
    assert "its content belongs to subject moorage.pipeline.requested.root=3Aa.n.p" in (await stage.dead())[0]


async def test_what_is_superseded_is_acknowledged_and_dropped_unless_the_handler_wants_it(stage):
    wanted: list[int] = []

    @stage.worker.handles(keep_superseded=True)
    async def bind(message: Assigned, deps: Toy) -> None:
        wanted.append(message.at.attempt)

    await stage.store.provision(BUCKETS)
    await Table(stage.store, HEADS).put(join("root:a", "n", "p"), HeadEntry(head=head(3), digest="d"))
    async with stage.started() as toy:
        await stage.send(requested(2))
        await stage.send(Assigned(placement=REF, head=head(2), target="w/t"))
        await stage.send(requested(3))
        await until(lambda: toy.seen and wanted)
    assert toy.seen == [3]
    assert wanted == [2]
    assert await stage.dead() == []


async def test_draining_finishes_what_is_in_hand_and_takes_nothing_new(stage):
    async with stage.started() as toy:
        await stage.send(requested(99))
        await toy.entered.wait()
        stage.stop.set()
        await until(lambda: stage.ready.state == "draining")
        assert stage.ready.unready() == "toy is draining"
        toy.release.set()
    assert toy.closed
    assert toy.seen == [99]


async def test_draining_is_bounded_and_what_did_not_finish_is_left_to_others():
    stage = Stage(drain_seconds=0.05)

    @stage.worker.handles()
    async def stuck(message: Requested, deps: Toy) -> None:
        deps.entered.set()
        await asyncio.Event().wait()

    async with stage.started() as toy:
        await stage.send(requested(1))
        await toy.entered.wait()
    assert toy.closed


async def test_a_source_publishes_and_is_started_again_when_it_fails():
    stage = Stage()
    starts: list[int] = []
    seen = attempts_seen(stage)

    @stage.worker.source
    async def watch(deps: Toy) -> AsyncGenerator[Withdrawn, None]:
        starts.append(1)
        yield Withdrawn(placement=REF, head=head(len(starts)))
        if len(starts) == 1:
            raise RuntimeError("the watch broke")
        await asyncio.Event().wait()

    async with stage.started():
        await until(lambda: seen == [1, 2])


def attempts_seen(stage: Stage) -> list[int]:
    """The attempts of the withdrawals that its worker handles, as they come."""
    seen: list[int] = []

    @stage.worker.handles()
    async def end(message: Withdrawn, deps: Toy) -> None:
        seen.append(message.at.attempt)

    return seen


class FailingBus(MemoryBus):
    """A bus that refuses the first messages of its own accord."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    async def publish(self, subject: str, payload: bytes, *, id: str, headers=None) -> bool:
        if self.failures:
            self.failures -= 1
            raise BusError("no answer in time")
        return await super().publish(subject, payload, id=id, headers=headers)


async def test_a_source_goes_on_after_the_bus_failed_even_if_it_leaves_a_group_of_exceptions_behind():
    stage = Stage()
    stage.bus = FailingBus(1)
    starts: list[int] = []
    seen = attempts_seen(stage)

    @stage.worker.source
    async def crew(deps: Toy) -> AsyncGenerator[Withdrawn, None]:
        starts.append(1)
        async with asyncio.TaskGroup() as tasks:  # to be closed within it, it answers with a group of GeneratorExit
            tasks.create_task(asyncio.Event().wait())
            yield Withdrawn(placement=REF, head=head(len(starts)))
            await asyncio.Event().wait()

    async with stage.started():
        await until(lambda: seen == [2])


async def test_a_source_that_is_cancelled_from_within_is_started_again():
    stage = Stage()
    starts: list[int] = []
    seen = attempts_seen(stage)

    @stage.worker.source
    async def watch(deps: Toy) -> AsyncGenerator[Withdrawn, None]:
        starts.append(1)
        if len(starts) == 1:
            abandoned = asyncio.create_task(asyncio.Event().wait())
            abandoned.cancel()
            await abandoned
        yield Withdrawn(placement=REF, head=head(len(starts)))
        await asyncio.Event().wait()

    async with stage.started():
        await until(lambda: seen == [2])


async def test_a_timer_runs_again_after_it_failed():
    stage = Stage()
    ticks: list[int] = []

    @stage.worker.every(lambda settings: settings.tick_seconds)
    async def tick(deps: Toy) -> None:
        ticks.append(1)
        if len(ticks) == 1:
            raise RuntimeError("a bad tick")

    async with stage.started():
        await until(lambda: len(ticks) > 2)


async def test_a_view_that_is_followed_twice_is_one_view(stage):
    async with stage.started() as toy:
        assert await toy.runtime.follow(HEADS) is await toy.runtime.follow(HEADS)


async def test_background_work_that_fails_ends_the_process():
    stage = Stage()

    @asynccontextmanager
    async def broken(runtime: Runtime):
        async def fail() -> None:
            raise RuntimeError("no disk")

        runtime.background(fail(), "broken")
        yield runtime

    stage.worker.open = broken
    with pytest.raises(ExceptionGroup) as failure:
        await run(stage.worker, stage.settings, stage.bus, stage.store, stop=stage.stop, telemetry=Telemetry("toy", {}))
    assert failure.group_contains(RuntimeError, match="no disk")
