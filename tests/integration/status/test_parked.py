"""A message that was given up shows on its Placement, over real HTTP, until a later round came through."""

import msgspec

from tests.integration.status.conftest import Pipeline
from tests.integration.status.test_status import conditions, events, in_phase
from tests.support.manifests import condition


async def test_what_no_worker_can_read_shows_on_its_placement_until_the_next_decision(pipeline: Pipeline) -> None:
    scene = pipeline.scene
    await scene.workload()
    ref = await scene.place()
    await pipeline.bus.publish(f"moorage.pipeline.decided.{ref.key}", b"{", id="broken")
    status = await scene.until(ref, lambda status: "Parked" in str(status))
    parked = condition(status, "Parked")
    assert (parked["status"], parked["reason"]) == ("True", "DecidedGivenUp")
    assert parked["message"].startswith("The status worker could not handle the message `decided`")
    assert [reason for _, reason, _ in await events(scene)] == ["Parked"]
    await pipeline.decide(ref, "east")
    status = await scene.until(ref, in_phase("Ready"))
    assert conditions(status)["Parked"] == "False"


async def test_news_of_an_older_round_is_not_shown(pipeline: Pipeline) -> None:
    scene = pipeline.scene
    await scene.workload()
    ref = await scene.place()
    old = await pipeline.decide(ref, "east")
    await pipeline.decide(ref, "west")
    await scene.until(ref, in_phase("Ready"))
    late = msgspec.json.encode({"placement": ref, "head": old})
    place = f"moorage.dead.pipeline.discovered.{ref.key}"
    await pipeline.bus.publish(place, late, id="late", headers={"Moorage-Consumer": "policy-x"})
    await pipeline.bus.publish(f"moorage.pipeline.bound.{ref.key}.x", b"{", id="newer")
    status = await scene.until(ref, lambda status: "Parked" in str(status))
    assert condition(status, "Parked")["reason"] == "BoundGivenUp"
