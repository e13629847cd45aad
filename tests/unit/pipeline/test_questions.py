"""Questions: declared like handlers, answered beside the pipeline, and kept out of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from shared.api import PlacementSpec
from shared.broker.bus import Reject, Reply, Service, Unanswered
from shared.broker.claims import CLAIM_HEADER, ask
from shared.broker.dead import CAUSE_HEADER
from shared.broker.memory.bus import MemoryBus
from shared.broker.memory.store import MemoryStore
from shared.model.refs import PlacementRef
from shared.model.request import Cause, Question, Request
from shared.pipeline import topology
from shared.pipeline.messages import Discovered, Evaluated, Requested, decoder, encode
from shared.pipeline.rights import accounts
from shared.pipeline.runner import run
from shared.pipeline.worker import DeclarationError, Worker
from shared.process.settings import Settings
from shared.process.tracing import Telemetry
from tests.support.values import head
from tests.support.waiting import until

BOUND = 5.0
SPEC = msgspec.convert({"workload": [{"apiVersion": "v1", "kind": "Pod", "name": "x"}]}, PlacementSpec)


def requested(question: Question | None = None, name: str = "p") -> Requested:
    ref = PlacementRef(workspace="root:a", namespace="n", name=name)
    request = Request(placement=ref, head=head(), cause=Cause(code="Created"), spec=SPEC, question=question)
    return Requested(request=request)


@asynccontextmanager
async def nothing(runtime) -> AsyncIterator[list[Requested]]:
    yield []


def a_worker() -> Worker:
    worker = Worker("toy", "A toy", settings=Settings, open=nothing)

    @worker.answers()
    @worker.handles()
    async def discover(message: Requested, deps: list[Requested]) -> Discovered:
        deps.append(message)
        targets = ("t" * 500_000,) * 2 if message.about.name == "large" else ("root/t",)
        return Discovered(request=message.request, targets=targets, inventory_revision=3)

    return worker


@asynccontextmanager
async def running(worker: Worker) -> AsyncIterator[MemoryBus]:
    bus, stop, ready = MemoryBus(), asyncio.Event(), asyncio.Event()
    work = run(
        worker, Settings(health_port=-1), bus, MemoryStore(),
        stop=stop, telemetry=Telemetry("toy", {}), on_ready=ready.set,
    )  # fmt: skip
    async with asyncio.timeout(BOUND), asyncio.TaskGroup() as tasks:
        tasks.create_task(work)
        await ready.wait()
        yield bus
        stop.set()


async def put(bus: MemoryBus, message: Requested) -> Discovered:
    return decoder(Discovered).decode(await ask(bus, Requested.asked_on(), encode(message), timeout=BOUND))


async def test_a_question_is_answered_with_what_the_handler_would_emit_and_nothing_is_published():
    async with running(a_worker()) as bus:
        asked = requested(Question(id="q"))
        assert await put(bus, asked) == Discovered(request=asked.request, targets=("root/t",), inventory_revision=3)
        assert not bus.broker.streams["MOORAGE_PIPELINE"].messages


async def test_question_and_answer_may_be_larger_than_a_message_may_be():
    async with running(a_worker()) as bus:
        found = await put(bus, requested(Question(id="q"), name="large"))
        assert sum(map(len, found.targets)) == 1_000_000
        assert len(bus.broker.blobs) == 1


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (encode(requested()), "it is no question"),
        (b'{"type": "Discovered"}', "not a valid Requested"),
        (b"\xff", "not a valid Requested"),
    ],
)
async def test_what_is_no_question_is_refused_with_the_reason(payload, reason):
    async with running(a_worker()) as bus:
        with pytest.raises(Unanswered, match=reason) as found:
            await ask(bus, Requested.asked_on(), payload, timeout=BOUND)
        assert found.value.code == "Invalid"


async def test_a_question_that_came_into_the_pipeline_is_parked_and_not_acted_on():
    async with running(a_worker()) as bus:
        asked = requested(Question(id="q"))
        await bus.publish(asked.subject(), encode(asked), id="1")
        await until(lambda: bus.broker.streams["MOORAGE_DEAD"].messages)
        (parked,) = bus.broker.streams["MOORAGE_DEAD"].messages.values()
        assert parked.headers[CAUSE_HEADER] == "a question is not to be acted on"


async def test_an_answer_that_leads_nowhere_is_told():
    bus = MemoryBus()

    async def lose(asked) -> Reply:
        return Reply(b"", {CLAIM_HEADER: "gone"})

    await bus.serve(Service(subject="a", group="g"), lose)
    with pytest.raises(Reject, match="not in the object store"):
        await ask(bus, "a", b"", timeout=BOUND)


def test_who_answers_must_say_with_what():
    worker = Worker("toy", "A toy", settings=Settings, open=nothing)

    async def silent(message: Requested, deps: object) -> None: ...

    with pytest.raises(DeclarationError, match="what it answers"):
        worker.answers()(silent)


def test_what_is_asked_about_must_be_answered_by_somebody():
    asking = Worker("asking", "Asks", settings=Settings, open=nothing, questions=(Requested,))
    other = Worker("other", "Asks of what nobody knows", settings=Settings, open=nothing, questions=(Evaluated,))
    topology.check([a_worker(), asking], external=(Requested, Discovered))
    with pytest.raises(topology.TopologyError, match="Evaluated is asked about"):
        topology.check([a_worker(), other], external=(Requested, Discovered))


def test_who_may_ask_whom_is_derived_from_the_declarations():
    asking = Worker("asking", "Asks", settings=Settings, open=nothing, questions=(Requested,))
    toy, asker, *_ = accounts([a_worker(), asking])
    assert toy.serves == ("moorage.questions.requested",)
    assert [(right.subject, right.of) for right in asker.rights if right.of] == [("moorage.questions.requested", "toy")]
    assert not [right for right in toy.rights if right.of]
