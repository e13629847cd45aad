"""What the spans of a whole system answer: how a placement went, what was refused and why, what came before."""

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from services.cli.tracing.jaeger import spans as spans_of
from services.cli.tracing.waterfall import rows
from services.sandbox.wire.faults import Fault
from shared.hub.names import TRACE_ANNOTATION
from shared.hub.resources import BINDINGS, PLACEMENTS
from tests.support import otlp, worlds
from tests.support.jaeger import BOUND as WITHIN
from tests.support.jaeger import binary, jaeger
from tests.support.otlp import Span
from tests.support.together import Together, together
from tests.support.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240), pytest.mark.xdist_group("e2e")]

WORKERS = ("controller", "discovery", "policy", "scheduler", "decision", "binding", "status")
REFUSED = {"moorage.workspace": worlds.TEAM, "moorage.decision": "refused"}
"""What somebody searches for who wants to know all that was refused of a workspace."""


HEALTHY = {"moorage.health": "Healthy"}


class Story(NamedTuple):
    """The traces of a placement at first, of the same once it moved, and of one that fits nowhere."""

    first: str
    moved: str
    refused: str


async def tell(system: Together) -> Story:
    """A placement in two targets, one of which says 503 at first, moves to a third. Another one asks for too much."""
    stumble = Fault(kind="503", cluster="target:*", verb="patch", resource="deployments.apps", times=1, seconds=0.1)
    system.sandbox.faults.add(stumble)
    await system.place("web", worlds.deployment("web"), targets={"names": ["cluster-000", "cluster-001"], "all": True})
    first = (await system.reaches("web", "Ready"))["traceId"]
    bindings = (await system.user.list(BINDINGS, worlds.NAMESPACE)).items
    assert [each["metadata"]["annotations"][TRACE_ANNOTATION] for each in bindings] == [first, first]
    await system.edit(PLACEMENTS, "web", {"targets": {"names": ["cluster-002"], "all": True}})
    moved = (await system.reaches("web", "Ready"))["traceId"]
    await system.place("huge", worlds.deployment("huge", cpu="5000"))
    refused = (await system.reaches("huge", "Unschedulable"))["traceId"]
    return Story(first, moved, refused)


def root_of(trace: Iterable[Span]) -> Span:
    (root,) = [each for each in trace if not each.parent]
    return root


def said(spans: Iterable[Span], attribute: str) -> list[object]:
    """All that spans say under one name."""
    return [each.attributes[attribute] for each in spans if attribute in each.attributes]


def is_ready(trace: Iterable[Span]) -> bool:
    """Whether it is told that the whole is Ready."""
    return "Ready" in said(trace, "moorage.phase")


def check_whole(trace: Sequence[Span]) -> None:
    """One trace over all workers, from the change to Ready in every target, with a retry and without an error."""
    assert {each.service.removeprefix("moorage-") for each in trace} == set(WORKERS)
    root = root_of(trace)
    assert (root.name, root.kind, root.attributes["moorage.cause"]) == ("reconcile placement", "internal", "Created")
    assert {each.parent for each in trace} <= {"", *(each.id for each in trace)}
    assert [each.name for each in trace if each.failed] == [], "that something is tried again is no failure"
    again = [each for each in trace if each.attributes.get("moorage.outcome") == "retry"]
    assert {each.service for each in again} == {"moorage-binding"}
    assert all(said(again, "moorage.retry.reason"))
    assert said(trace, "moorage.delivery"), "what is tried again is delivered again"
    handled = [each for each in trace if each.name.startswith("process ")]
    assert len(said(handled, "moorage.queue.seconds")) == len(handled)
    healthy = {each.attributes["moorage.target"] for each in trace if _has(each.attributes, HEALTHY)}
    assert healthy == {f"{worlds.PLATFORM}/cluster-{number:03}" for number in (0, 1)}
    assert is_ready(trace)


def check_refused(spans: Iterable[Span], trace: str) -> None:
    """Why it was refused, by the worker that decides."""
    (decided,) = [each for each in spans if each.service == "moorage-decision" and _has(each.attributes, REFUSED)]
    assert (decided.trace, decided.attributes["moorage.name"]) == (trace, "huge")
    assert decided.attributes["moorage.reason"] == "NoFeasibleTarget"
    assert decided.attributes["moorage.rationale"] == "0/3 targets: 3 insufficient cpu"


def _has(attributes: Mapping[str, object], wanted: Mapping[str, object]) -> bool:
    return wanted.items() <= {name: attributes.get(name) for name in wanted}.items()


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which spans are sent soon, once it says where to."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    return monkeypatch


async def test_a_trace_tells_the_whole_way_and_a_search_what_was_refused(
    tmp_path: Path, exported: pytest.MonkeyPatch
) -> None:
    async with otlp.receiver() as spans:
        exported.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", spans.url)
        async with together(tmp_path, worlds.world(3), telemetry=os.environ) as system:
            story = await tell(system)
    check_whole(spans.trace(story.first))
    after = root_of(spans.trace(story.moved))
    assert after.links == (root_of(spans.trace(story.first)).id,)
    assert after.attributes["moorage.cause"] == "SpecChanged"
    check_refused(spans.spans, story.refused)


@pytest.mark.servers
async def test_a_real_jaeger_answers_from_the_change_to_ready_what_was_refused_and_what_came_before(
    tmp_path: Path, exported: pytest.MonkeyPatch
) -> None:
    async with jaeger(binary(), tmp_path) as found:
        exported.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.otlp)
        (folder := tmp_path / "system").mkdir()
        async with together(folder, worlds.world(3), telemetry=os.environ) as system:
            story = await tell(system)
        first = await found.trace(story.first, is_ready)
        check_whole(first)
        shown = rows(await asyncio.to_thread(spans_of, found.query, story.first))
        assert (shown[0].depth, shown[0].span.operation) == (0, "reconcile placement")
        assert {each.span.service for each in shown if each.depth} >= {f"moorage-{name}" for name in WORKERS}
        assert not any(each.span.error for each in shown)
        moved = await found.trace(story.moved, is_ready)
        assert root_of(moved).links == (root_of(first).id,)

        async def search() -> dict[str, list[Span]]:
            return await found.search("moorage-decision", REFUSED)

        refused = await until(search, "what was refused is found", within=WITHIN, pause=0.2)
        assert list(refused) == [story.refused]
        check_refused(refused[story.refused], story.refused)
