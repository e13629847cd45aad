"""Status over real HTTP: what is decided, applied and observed shows on the Placement."""

from shared.messages import Decided
from shared.model import Choice
from tests.integration.status.conftest import Pipeline
from tests.support.scene import PLATFORM


async def test_a_placement_becomes_ready_and_says_where_it_runs(pipeline: Pipeline) -> None:
    scene = pipeline.scene
    await scene.workload()
    ref = await scene.place()
    head = await scene.decide(ref, "east")
    await pipeline.send(
        Decided(
            placement=ref, head=head, selected=(Choice(target=f"{PLATFORM}/east", score=90.0),), considered=3,
            trace="0" * 32,
        )
    )
    await pipeline.send(scene.assigned(ref, head))
    placement = await scene.until(ref, lambda status: status.get("phase") == "Ready")
    print(placement)
