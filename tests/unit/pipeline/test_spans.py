"""Spans as they are exported: what a given-up message leaves, and where the trace of a round ends."""

import asyncio
import os
import time

import pytest

from shared.broker.bus import Consumer, Delivery, GivenUp, Reject
from shared.broker.memory.bus import MemoryBus
from shared.model.refs import PlacementRef
from shared.pipeline import topology
from shared.pipeline.messages import Observed
from shared.pipeline.spans import FOLLOWED, parking, sending
from shared.process.tracing import Telemetry
from tests.support import otlp
from tests.support.values import head
from tests.support.waiting import until

ROUND = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{ROUND}-b7ad6b7169203331-01"
REF = PlacementRef(workspace="root:a", namespace="n", name="p")
OBSERVED = Observed(placement=REF, head=head(1), target="root:p/a", revision=1, traceparent=PARENT)


@pytest.fixture(autouse=True)
def no_other_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


async def test_a_message_that_is_given_up_leaves_a_span_with_its_cause_in_its_trace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bus, subject = MemoryBus(), "moorage.pipeline.observed.a.b.c.d"
    consumer = Consumer(name="c", stream=topology.PIPELINE_STREAM, subject="moorage.pipeline.>")
    await bus.provision(topology.streams(), (consumer,))
    async with otlp.receiver() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        telemetry = Telemetry("test", os.environ)

        def around(delivery: Delivery, why: GivenUp, cause: str):  # type: ignore[no-untyped-def]  # a context manager
            return parking(telemetry, delivery, why, cause)

        async def handle(_delivery: Delivery) -> None:
            raise Reject("it makes no sense")

        await bus.consume(consumer, handle, parking=around)
        await bus.publish(subject, b"", id="1", headers={"traceparent": PARENT})
        await until(lambda: len(bus.broker.streams["MOORAGE_DEAD"].messages) == 1)
        await asyncio.to_thread(telemetry.close)
    (span,) = found.spans
    assert (span.name, span.trace, span.kind, span.failed) == ("park message", ROUND, "producer", True)
    assert span.attributes["messaging.destination.name"] == subject
    assert span.attributes["moorage.given_up"] == "rejected"


@pytest.mark.parametrize(("age", "continued"), [(FOLLOWED - 60, True), (FOLLOWED + 60, False)])
async def test_a_trace_goes_on_with_what_is_observed_for_an_hour_and_is_linked_to_after_that(
    age: float, continued: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with otlp.receiver() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        telemetry = Telemetry("test", os.environ)
        with sending(telemetry, OBSERVED, time.time() - age) as headers:
            trace = headers["traceparent"][3:35]
        await asyncio.to_thread(telemetry.close)
    (span,) = found.spans
    assert (span.trace == ROUND) is continued
    assert span.trace == trace
    assert span.links == (() if continued else (PARENT[36:52],))
