"""Messages of a worker that are dealt out come to the copy that owns them, as the workers declare it."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import pytest

from services.registry import load_all
from shared.api import PlacementSpec
from shared.broker.memory.bus import MemoryBroker, MemoryBus
from shared.broker.memory.store import MemoryStore
from shared.model.decision import Choice, Proposal
from shared.model.refs import PlacementRef
from shared.model.request import Cause, Request
from shared.pipeline.buckets import STATUS_COPIES
from shared.pipeline.messages import Assigned, Bound, Message, Observed, Scheduled, Withdrawn, encode
from shared.pipeline.runner import run
from shared.pipeline.runtime import Runtime
from shared.pipeline.worker import DeclarationError, Worker
from shared.process.settings import Settings
from shared.process.tracing import Telemetry
from tests.support.values import head
from tests.support.waiting import until

EAST, WEST = "root:p/east", "root:p/west"


def ref(name: str) -> PlacementRef:
    return PlacementRef(workspace="root:a", namespace="n", name=name)


def scheduled(name: str, *targets: str) -> Scheduled:
    spec = msgspec.convert({"workload": [{"apiVersion": "v1", "kind": "Pod", "name": "x"}]}, PlacementSpec)
    request = Request(placement=ref(name), head=head(1), cause=Cause(code="Created"), spec=spec)
    selected = tuple(Choice(target=each, score=1.0) for each in targets)
    return Scheduled(request=request, proposal=Proposal(strategy="BestFit", selected=selected), inventory_revision=0)


def assigned(name: str, target: str, block: int = 0) -> Assigned:
    return Assigned(placement=ref(name), head=head(1), target=target, block=block)


def observed(name: str, target: str, block: int = 0) -> Observed:
    return Observed(placement=ref(name), head=head(1), target=target, block=block, revision=1)


def bound(name: str, target: str) -> Bound:
    return Bound(placement=ref(name), head=head(1), target=target, phase="Applied")


def dealt_by(worker: str, message: Message) -> str:
    """What a worker deals a message out by."""
    (found,) = [each for each in load_all() if each.name == worker]
    (handler,) = [each for each in found.handlers if each.consumes is type(message)]
    assert handler.dealt_by is not None
    return handler.dealt_by(message)


def test_whoever_wants_a_target_most_or_leaves_it_comes_to_the_same_copy_of_decision() -> None:
    keys = {dealt_by("decision", each) for each in (scheduled("a", EAST, WEST), scheduled("b", EAST), bound("c", EAST))}
    assert len(keys) == 1
    assert dealt_by("decision", scheduled("a", WEST, EAST)) not in keys
    assert dealt_by("decision", scheduled("a")) != dealt_by("decision", scheduled("b"))  # a refusal is for any


def test_what_concerns_a_placement_comes_to_the_same_copy_of_binding_but_for_very_many_targets() -> None:
    keys = {dealt_by("binding", each) for each in (assigned("a", EAST), assigned("a", WEST), observed("a", EAST))}
    assert len(keys) == 1
    assert dealt_by("binding", assigned("b", EAST)) not in keys
    assert dealt_by("binding", assigned("a", EAST, 1)) not in keys
    assert dealt_by("binding", assigned("a", EAST, 1)) == dealt_by("binding", observed("a", EAST, 1))


def test_to_deal_out_needs_copies_to_deal_out_to() -> None:
    @asynccontextmanager
    async def open_it(_: Runtime) -> AsyncIterator[None]:
        yield

    with pytest.raises(DeclarationError, match="no bucket"):
        Worker("toy", "A toy", settings=Settings, open=open_it).handles(dealt_by=str)


async def test_each_message_is_handled_by_one_copy_and_all_of_a_key_by_the_same() -> None:
    broker, store, stop = MemoryBroker(), MemoryStore(), asyncio.Event()
    seen: dict[str, list[str]] = defaultdict(list)
    copies: list[Runtime] = []

    @asynccontextmanager
    async def open_it(runtime: Runtime) -> AsyncIterator[str]:
        assert runtime.copies is not None
        copies.append(runtime)
        yield runtime.copies.name

    worker = Worker("toy", "A toy", settings=Settings, open=open_it, follows=(STATUS_COPIES,), copies=STATUS_COPIES)

    @worker.handles(dealt_by=lambda message: message.about.key)
    async def handle(message: Withdrawn, deps: str) -> None:
        seen[message.about.name].append(deps)

    def together() -> bool:
        return len(copies) == 3 and not any(each.copies is None or each.copies.alone for each in copies)

    async with asyncio.timeout(20), AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        stack.callback(stop.set)
        for _ in range(3):
            settings, telemetry = Settings(health_port=-1), Telemetry("toy", {})
            tasks.create_task(run(worker, settings, MemoryBus(broker), store, stop=stop, telemetry=telemetry))
        await until(together)
        names = {each.copies.name for each in copies if each.copies is not None}
        await until(
            lambda: all(each.copies and {each.copies.owner(str(n)) for n in range(50)} == names for each in copies)
        )
        for attempt in (1, 2):
            for number in range(20):
                message = Withdrawn(placement=ref(str(number)), head=head(attempt))
                await MemoryBus(broker).publish(message.subject(), encode(message), id=f"{number} {attempt}")
            await until(
                lambda: sum(map(len, seen.values())), holds=lambda found, attempt=attempt: found == 20 * attempt
            )
    assert all(len(by) == 2 and len(set(by)) == 1 for by in seen.values())
    assert len({by[0] for by in seen.values()}) > 1
