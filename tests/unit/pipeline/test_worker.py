"""Declarations: what functions consume and emit is read from their annotations."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from shared.pipeline import topology
from shared.pipeline.messages import Decided, Discovered, Evaluated, Requested, Withdrawn
from shared.pipeline.worker import DeclarationError, Worker, messages_of
from shared.process.settings import Settings
from tests.support.values import head


@asynccontextmanager
async def nothing(runtime):
    yield runtime


def a_worker(name: str = "toy") -> Worker:
    return Worker(name, "A toy", settings=Settings, open=nothing)


def test_a_handler_declares_what_it_consumes_and_emits():
    worker = a_worker()

    @worker.handles()
    async def evaluate(message: Discovered, deps: object) -> list[Evaluated | Decided] | None: ...

    assert worker.consumes == (Discovered,)
    assert worker.emits == (Evaluated, Decided)


def test_a_handler_that_emits_nothing_is_fine():
    worker = a_worker()

    @worker.handles()
    async def end(message: Discovered, deps: object) -> None: ...

    assert worker.emits == ()


def test_sources_and_timers_emit_as_well():
    worker = a_worker()

    @worker.source
    async def watch(deps: object) -> AsyncGenerator[Requested | Withdrawn, None]:
        return
        yield

    @worker.every(lambda settings: 1.0)
    async def tick(deps: object) -> Requested | None: ...

    assert worker.emits == (Requested, Withdrawn)


def test_what_cannot_be_wired_is_refused_by_name():
    worker = a_worker()

    async def no_message(message: int, deps: object) -> None: ...
    async def no_return(message: Discovered, deps: object): ...
    async def fine(message: Discovered, deps: object) -> None: ...

    with pytest.raises(DeclarationError, match=r"toy\.no_message"):
        worker.handles()(no_message)
    with pytest.raises(DeclarationError, match=r"toy\.no_return.*none"):
        worker.handles()(no_return)
    worker.handles()(fine)
    with pytest.raises(DeclarationError, match="two handlers for Discovered"):
        worker.handles()(fine)


def chain() -> tuple[Worker, Worker]:
    first, second = a_worker("first"), a_worker("second")

    @first.source
    async def watch(deps: object) -> AsyncGenerator[Requested, None]:
        return
        yield

    @second.handles(concurrency=3)
    async def discover(message: Requested, deps: object) -> Discovered: ...

    return first, second


def test_consumers_are_derived_one_durable_per_worker_and_stage():
    _, second = chain()
    (consumer,) = topology.consumers(second)
    assert (consumer.name, consumer.subject) == ("second-requested", "moorage.pipeline.requested.>")
    assert consumer.concurrency == 3


def test_a_message_that_nobody_consumes_or_nobody_emits_is_an_error_unless_external():
    first, second = chain()
    with pytest.raises(topology.TopologyError, match="Discovered is emitted but nobody consumes it"):
        topology.check((first, second))
    topology.check((first, second), external=[Discovered])
    with pytest.raises(topology.TopologyError, match="Requested is consumed but nobody emits it"):
        topology.check((second,), external=[Discovered])


def test_the_diagram_is_drawn_from_the_declarations():
    assert topology.diagram(chain()) == "flowchart LR\n    first -- Requested --> second\n"


def test_what_a_handler_returned_is_taken_as_messages():
    withdrawn = Withdrawn(placement=_ref(), head=head())
    assert messages_of(None) == ()
    assert messages_of(withdrawn) == (withdrawn,)
    assert messages_of([withdrawn, withdrawn]) == (withdrawn, withdrawn)


def _ref():
    from shared.model.refs import PlacementRef

    return PlacementRef(workspace="w", namespace="n", name="p")
