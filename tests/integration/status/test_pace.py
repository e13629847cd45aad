"""What status writes and tells while things settle, and how often: what passes by itself costs nothing."""

import asyncio
from typing import Any

from shared.broker.memory.bus import MemoryConsumer
from shared.broker.table import Table
from shared.hub.resources import PLACEMENTS
from shared.model.refs import PlacementRef
from shared.model.report import TargetReport
from shared.pipeline.buckets import REPORTS
from shared.pipeline.messages import PIPELINE, Bound, Observed, decoder
from shared.pipeline.topology import PIPELINE_STREAM
from tests.integration.status.conftest import Pipeline
from tests.integration.status.test_status import LOST, in_phase, ready
from tests.support.manifests import deployment
from tests.support.waiting import until


async def test_bursts_are_written_at_the_agreed_pace(idle: Pipeline) -> None:
    await idle.start("binding")
    await idle.start("status", write_seconds=0.4)
    ref = await ready(idle, "east")
    writes, began = idle.scene.count_requests("root:team"), asyncio.get_running_loop().time()
    for number in range(20):
        await idle.change_target("east", lost_since=LOST if number % 2 == 0 else 0.0)
        await asyncio.sleep(0)
    await idle.change_target("east", lost_since=LOST)
    await idle.scene.until(ref, in_phase("Degraded"))
    took = asyncio.get_running_loop().time() - began
    jumps = 4 + took / 0.4  # what is awaited need not wait for its turn, but flapping does not pass for that for ever
    assert sum(each.startswith("PUT") and each.endswith("/status") for each in writes) <= took / 0.4 + 1 + jumps


async def test_ready_does_not_wait_for_its_turn(idle: Pipeline) -> None:
    await idle.start("binding")
    await idle.start("status", write_seconds=3600.0)
    ref = await ready(idle, "east")
    await idle.decide(ref, "east", "west")
    await idle.scene.until(ref, lambda status: status["counts"]["ready"] == 2)


async def told(pipeline: Pipeline) -> list[Observed]:
    """What was told so far of how objects are, the last of each target."""
    decode = decoder(Observed).decode
    messages = pipeline.bus.broker.streams[PIPELINE_STREAM].messages.values()
    return [decode(each.payload) for each in messages if each.subject.startswith(f"{PIPELINE}.{Observed.stage}.")]


async def test_what_passes_is_not_told_where_what_becomes_of_it_is(idle: Pipeline) -> None:
    await idle.start("binding", health_seconds=3600.0)
    await idle.start("status", write_seconds=3600.0)
    writes = idle.scene.count_requests("root:team")
    await ready(idle, "east")
    assert [each.objects[0].health for each in await told(idle)] == ["Healthy"]
    assert sum("/placements/" in each and each.endswith("/status") for each in writes) == 2  # decided, and Ready


async def test_what_does_not_pass_for_a_while_is_told_and_shown_of_each_target(idle: Pipeline) -> None:
    await idle.start("binding")
    await idle.start("status", write_seconds=0.2)
    await idle.scene.workload()
    large = {**deployment("db", cpu="1000"), "kind": "StatefulSet"}  # more than there is
    ref = await idle.scene.place(manifests=[large])
    await idle.decide(ref, "east", "west")
    await idle.scene.until(ref, lambda status: str(status.get("targets")).count("'health': 'Progressing'") == 2)
    assert [{one.health for one in each.objects} for each in await told(idle)] == [{"Healthy", "Progressing"}] * 2


async def writes(pipeline: Pipeline) -> int:
    """How often reports were written so far."""
    return max((each.revision for each in await pipeline.scene.store.raw(REPORTS).since(0)), default=0)


def stateful(name: str, cpu: str) -> dict[str, Any]:
    """A StatefulSet; of more cpu than there is, it never settles."""
    return {**deployment(name, cpu=cpu), "kind": "StatefulSet"}


async def place_another(pipeline: Pipeline, *manifests: dict[str, Any]) -> PlacementRef:
    """Decide a placement for the target east where all its kinds are watched, and of which nothing is on record."""
    await ready(pipeline, "east", manifests=[stateful("cache", "1m")])
    await pipeline.scene.workload(name="api")
    ref = await pipeline.scene.place("api", manifests=list(manifests))
    pipeline.written = await writes(pipeline)
    await pipeline.decide(ref, "east")
    return ref


async def test_what_settles_soon_is_put_on_record_once_where_its_target_is_watched(idle: Pipeline) -> None:
    await idle.start("binding", health_seconds=3600.0)
    await idle.start("status", write_seconds=3600.0)
    ref = await place_another(idle)
    await idle.scene.until(ref, in_phase("Ready"))
    assert await writes(idle) == idle.written + 1


async def test_what_does_not_settle_is_shown_after_a_while_where_its_target_is_watched(idle: Pipeline) -> None:
    await idle.start("binding")
    await idle.start("status", write_seconds=0.3)
    ref = await place_another(idle, stateful("db", "1000"))
    await idle.scene.until(ref, lambda status: "Progressing" in str(status.get("targets")))
    assert await writes(idle) == idle.written + 1


async def test_what_a_killed_status_waited_for_is_not_lost(idle: Pipeline) -> None:
    scene, broker = idle.scene, idle.bus.broker
    broker.clock = scene.clock
    await idle.start("binding")
    await idle.start("status", write_seconds=3600.0)
    ref = await place_another(idle, stateful("db", "1000"))
    consumer = await waited_for(idle)
    await idle.kill("status")
    assert await writes(idle) == idle.written
    await idle.start("status", write_seconds=0.3)
    scene.ahead = consumer.settings.ack_wait
    broker.wake()
    await scene.until(ref, lambda status: "Progressing" in str(status.get("targets")))
    (report,) = [each for each in await reports(idle) if each.placement == ref]
    assert report.phase == "Applied"


async def test_a_placement_that_goes_while_status_waits_leaves_no_report(idle: Pipeline) -> None:
    scene = idle.scene
    await idle.start("binding")
    await idle.start("status", write_seconds=5.0)
    ref = await place_another(idle, stateful("db", "1000"))
    bound = await waited_for(idle)
    head = await idle.decide(ref)
    await idle.send(scene.assigned(ref, head, remove=True))
    await until(lambda: scene.in_target(name="api"), "it is removed", holds=lambda found: found is None)
    await until(lambda: bound.backlog.unacknowledged, "nobody waits", holds=lambda many: not many)
    assert [each.placement.name for each in await reports(idle)] == ["web"]


async def waited_for(pipeline: Pipeline) -> MemoryConsumer:
    """Once status waits for what becomes of something that was applied: the consumer that it has this from."""
    consumer = pipeline.bus.broker.consumers[PIPELINE_STREAM, f"status-{Bound.stage}"]
    await until(lambda: pipeline.scene.in_target(name="api"), "it is applied")
    await until(lambda: consumer.backlog.unacknowledged, "status waits for what becomes of it")
    return consumer


async def reports(pipeline: Pipeline) -> list[TargetReport]:
    return [each.value for each in await Table(pipeline.scene.store, REPORTS).entries()]


async def test_a_status_is_written_without_being_read_until_somebody_else_wrote(pipeline: Pipeline) -> None:
    scene = pipeline.scene
    await scene.workload()
    ref = await scene.place()
    requests: list[str] = []

    async def watching(request: Any) -> None:
        kind = request.path.split("/")[-2 if request.method == "GET" else -3]
        if "status" in request.headers.get("user-agent", "") and kind in ("placements", "placementdecisions"):
            requests.append(request.method)

    scene.tap(before=watching)
    await pipeline.decide(ref, "east", unreported=True)
    await scene.until(ref, in_phase("Ready"))
    await pipeline.change_target("east", lost_since=LOST)
    await scene.until(ref, in_phase("Degraded"))
    assert set(requests) == {"PUT"}
    await scene.team.merge_patch(PLACEMENTS, "web", {"metadata": {"labels": {"a": "b"}}}, "shop")
    await pipeline.change_target("east", lost_since=0.0)
    await scene.until(ref, in_phase("Ready"))
    assert requests.count("GET") == 2  # the Placement and its decision
