"""One placement is one trace: spans over OTLP/HTTP, continued through message headers."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from services import PIPELINE
from shared.api import PlacementSpec
from shared.broker.bus import Reject, Retry
from shared.broker.claims import send
from shared.broker.memory.bus import MemoryBroker, MemoryBus
from shared.broker.memory.store import MemoryStore
from shared.model.refs import Head, PlacementRef
from shared.model.request import Cause, Request
from shared.pipeline import runner, topology
from shared.pipeline.messages import Discovered, Evaluated, Message, Requested, encode
from shared.pipeline.spans import trace_of
from shared.pipeline.worker import Worker
from shared.process.settings import Settings
from shared.process.tracing import Telemetry, current_trace, wanted
from tests.support.otlp import Receiver, Span, receiver

REF = PlacementRef(workspace="root:team", namespace="shop", name="web")
REQUEST = Request(
    placement=REF, head=Head(uid="u1", generation=1, attempt=1), cause=Cause(code="Created"), spec=PlacementSpec()
)
INCOMING_TRACE = "0af7651916cd43dd8448eb211c80319c"
INCOMING_SPAN = "b7ad6b7169203331"
SAMPLED, UNSAMPLED = (f"00-{INCOMING_TRACE}-{INCOMING_SPAN}-{flags}" for flags in ("01", "00"))
BOUND = 15.0


# A chain of three workers that do nothing but hand on


@dataclass
class Toy:
    """What the workers share with the test: the trace that each of them saw, and the end of the chain."""

    seen: dict[str, str] = field(default_factory=dict)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    ask: bool = True
    fail: bool = False
    request: Request = REQUEST
    raising: list[Exception] = field(default_factory=list)


def chain(toy: Toy) -> tuple[Worker, ...]:
    """`first` emits Requested, `second` makes Discovered of it, `third` Evaluated, and `last` takes that."""

    @asynccontextmanager
    async def opened(_runtime: Any) -> AsyncIterator[Toy]:
        yield toy

    first, second, third, last = (
        Worker(name, "a toy", settings=Settings, open=opened) for name in ("first", "second", "third", "last")
    )

    @first.source
    async def begin(deps: Toy) -> AsyncGenerator[Requested, None]:
        if deps.ask:
            yield Requested(request=deps.request)
        await asyncio.Event().wait()

    @second.handles()
    async def discover(message: Requested, deps: Toy) -> Discovered:
        deps.seen["second"] = current_trace()
        return Discovered(request=message.request, targets=("root/a",), inventory_revision=1)

    @third.handles()
    async def evaluate(message: Discovered, deps: Toy) -> Evaluated:
        deps.seen["third"] = current_trace()
        if deps.fail:
            deps.fail = False
            raise ZeroDivisionError("a bug")
        if deps.raising:
            raise deps.raising.pop(0)
        return Evaluated(request=message.request, targets=message.targets, inventory_revision=1)

    @last.handles()
    async def end(message: Evaluated, deps: Toy) -> None:
        deps.seen["last"] = current_trace()
        deps.done.set()

    return first, second, third, last


@asynccontextmanager
async def running(workers: tuple[Worker, ...], env: Mapping[str, str]) -> AsyncIterator[MemoryBroker]:
    """The workers at work on one broker in memory, each with telemetry of its own, as processes have."""
    broker, store, stop = MemoryBroker(), MemoryStore(), asyncio.Event()
    telemetries = {worker.name: Telemetry(worker.name, env) for worker in workers}
    settings = Settings(health_port=-1, drain_seconds=5.0)
    async with asyncio.TaskGroup() as tasks:
        ready: asyncio.Queue[None] = asyncio.Queue()
        for worker in workers:
            work = runner.run(
                worker,
                settings,
                MemoryBus(broker),
                store,
                stop=stop,
                telemetry=telemetries[worker.name],
                on_ready=lambda: ready.put_nowait(None),
            )
            tasks.create_task(work, name=worker.name)
        async with asyncio.timeout(BOUND):
            for _ in telemetries:
                await ready.get()
        yield broker
        stop.set()
    for telemetry in telemetries.values():
        await asyncio.to_thread(telemetry.close)


async def hand_in(broker: MemoryBroker, message: Message, headers: Mapping[str, str]) -> None:
    await send(MemoryBus(broker), message.subject(), encode(message), id=message.id(), headers=dict(headers))


async def finished(toy: Toy) -> None:
    async with asyncio.timeout(BOUND):
        await toy.done.wait()


def headers_of(broker: MemoryBroker, stage: str) -> dict[str, str]:
    """The headers of the one message that a stage published."""
    messages = broker.streams[topology.PIPELINE_STREAM].messages.values()
    (found,) = (message.headers for message in messages if f".{stage}." in message.subject)
    return found


@pytest.fixture
async def otlp(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Receiver]:
    """A receiver, named in the environment, which is where the exporter of the SDK looks itself."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    async with receiver() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        yield found


def by_service(spans: Iterable[Span]) -> dict[str, Span]:
    return {span.service.removeprefix("moorage-"): span for span in spans}


async def test_a_chain_of_workers_is_one_trace_in_which_each_span_has_the_one_before_as_parent(otlp: Receiver) -> None:
    toy = Toy()
    async with running(chain(toy), os.environ):
        await finished(toy)
    spans = await otlp.until(lambda spans: len(spans) == 5)
    named = {span.name: span for span in spans}
    order = [named[f"{kind} {what}"] for kind, what in (
        ("reconcile", "placement"), ("send", "requested"), ("process", "requested"), ("process", "discovered"),
        ("process", "evaluated"),
    )]  # fmt: skip
    assert [(span.service.removeprefix("moorage-"), span.kind) for span in order] == [
        ("first", "internal"),
        ("first", "producer"),
        ("second", "consumer"),
        ("third", "consumer"),
        ("last", "consumer"),
    ]
    assert [span.parent for span in order] == ["", *(span.id for span in order[:-1])]
    assert {span.trace for span in order} == {order[0].trace}
    assert set(toy.seen.values()) == {order[0].trace}, "what logs and PlacementDecisions name is this trace"


async def test_spans_say_which_placement_they_are_about_and_which_message_they_handle(otlp: Receiver) -> None:
    toy = Toy()
    async with running(chain(toy), os.environ):
        await finished(toy)
    spans = {span.name: span.attributes for span in await otlp.until(lambda spans: len(spans) == 5)}
    about = {
        "moorage.workspace": "root:team",
        "moorage.namespace": "shop",
        "moorage.name": "web",
        "moorage.generation": 1,
        "moorage.attempt": 1,
        "moorage.cause": "Created",
    }
    assert spans["reconcile placement"] == about
    handled = spans["process discovered"]
    assert handled.pop("moorage.queue.seconds") >= 0
    message = Discovered(request=REQUEST, targets=(), inventory_revision=1)
    assert handled == {
        **about,
        "messaging.system": "nats",
        "messaging.operation.name": "process",
        "messaging.destination.name": message.subject(),
        "messaging.consumer.group.name": "third-discovered",
        "messaging.message.id": message.id(),
        "moorage.outcome": "ok",
        "moorage.targets.considered": 1,
        "moorage.targets.feasible": 1,
    }


async def test_a_failed_handler_leaves_a_failed_span_and_the_next_delivery_is_in_the_same_trace(otlp: Receiver) -> None:
    toy = Toy(fail=True)
    async with running(chain(toy), os.environ):
        await finished(toy)
    spans = await otlp.until(lambda spans: len(spans) == 6)
    tries = sorted((span for span in spans if span.service == "moorage-third"), key=lambda s: not s.failed)
    assert [(span.failed, span.attributes.get("moorage.delivery")) for span in tries] == [(True, None), (False, 2)]
    assert [span.attributes["moorage.outcome"] for span in tries] == ["failed", "ok"]
    assert tries[0].attributes["error.type"] == "ZeroDivisionError"
    assert len({(span.trace, span.parent) for span in tries}) == 1


async def test_what_has_to_be_tried_again_is_no_failure_and_a_message_that_nobody_can_use_is_one(
    otlp: Receiver,
) -> None:
    toy = Toy(ask=False, raising=[Retry(0.0, "not yet"), Reject("of no use")])
    async with running(chain(toy), os.environ) as broker:
        await hand_in(broker, Requested(request=REQUEST), {})
        spans = await otlp.until(lambda spans: len(spans) == 4)
    third = [span for span in spans if span.service == "moorage-third"]
    handled = [span for span in third if span.name != "park message"]
    assert sorted((span.failed, span.attributes["moorage.outcome"]) for span in handled) == [
        (False, "retry"),
        (True, "dead"),
    ]
    (parked,) = [span for span in third if span.name == "park message"]
    assert (parked.failed, parked.trace) == (True, handled[0].trace)
    (again,) = [span for span in handled if span.attributes["moorage.outcome"] == "retry"]
    assert again.attributes["moorage.retry.reason"] == "not yet"


async def test_the_trace_of_a_round_is_known_beforehand_and_links_to_that_of_the_round_before(otlp: Receiver) -> None:
    second = msgspec.structs.replace(REQUEST, head=Head(uid="u1", generation=1, attempt=2))
    async with running(chain(toy := Toy(request=second)), os.environ):
        await finished(toy)
    spans = await otlp.until(lambda spans: len(spans) == 5)
    (root,) = [span for span in spans if not span.parent]
    assert (root.trace, root.id) == tuple(trace_of(second.head).split("-")[1:3])
    assert root.links == (trace_of(REQUEST.head).split("-")[2],)


async def test_a_trace_that_somebody_else_began_goes_on_with_its_tracestate(otlp: Receiver) -> None:
    toy = Toy(ask=False)
    async with running(chain(toy), os.environ) as broker:
        await hand_in(broker, Requested(request=REQUEST), {"traceparent": SAMPLED, "tracestate": "vendor=t61rc"})
        await finished(toy)
        onward = headers_of(broker, "evaluated")
    spans = by_service(await otlp.until(lambda spans: len(spans) == 3))
    assert {span.trace for span in spans.values()} == {INCOMING_TRACE}
    assert spans["second"].parent == INCOMING_SPAN
    assert {span.state for span in spans.values()} == {"vendor=t61rc"}
    assert onward["tracestate"] == "vendor=t61rc"
    assert onward["traceparent"] == f"00-{INCOMING_TRACE}-{spans['third'].id}-01"


async def test_what_the_sender_does_not_sample_makes_no_spans_but_stays_the_same_trace(otlp: Receiver) -> None:
    toy = Toy(ask=False)
    async with running(chain(toy), os.environ) as broker:
        await hand_in(broker, Requested(request=REQUEST), {"traceparent": UNSAMPLED})
        await finished(toy)
        onward = headers_of(broker, "evaluated")["traceparent"].split("-")
    assert (onward[1], onward[3]) == (INCOMING_TRACE, "00")
    assert otlp.spans == []


async def test_without_an_exporter_the_headers_pass_unchanged() -> None:
    toy = Toy(ask=False)
    given = {"traceparent": SAMPLED, "tracestate": "vendor=t61rc"}
    async with running(chain(toy), {}) as broker:
        await hand_in(broker, Requested(request=REQUEST), given)
        await finished(toy)
        for stage in ("discovered", "evaluated"):
            assert given.items() <= headers_of(broker, stage).items()
    assert set(toy.seen.values()) == {INCOMING_TRACE}


async def test_without_an_exporter_a_placement_still_has_one_trace_id_that_nobody_samples() -> None:
    toy = Toy()
    async with running(chain(toy), {}) as broker:
        await finished(toy)
        sent = {headers_of(broker, stage)["traceparent"] for stage in ("requested", "discovered", "evaluated")}
    (only,) = sent
    assert only.endswith("-00")
    assert set(toy.seen.values()) == {only.split("-")[1]}


async def test_a_receiver_that_is_away_does_not_hold_up_the_pipeline(
    otlp: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    toy = Toy()
    async with asyncio.timeout(BOUND), running(chain(toy), os.environ):
        await finished(toy)
    assert otlp.spans == []


ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "otlp"}, True),
    ],
)
def test_the_standard_variables_decide(env: dict[str, str], expected: bool) -> None:
    assert wanted(env) is expected


@pytest.mark.parametrize("worker", PIPELINE)
def test_the_sdk_is_loaded_only_where_spans_are_wanted(worker: str) -> None:
    code = (
        "import sys; from services.registry import load; from shared.process.tracing import Telemetry; "
        f"load({worker!r}); Telemetry({worker!r}, {{}}); "
        "print(sorted(name for name in sys.modules if name.startswith('opentelemetry')))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.strip() == "[]"
