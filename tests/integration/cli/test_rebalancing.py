"""What `moorage rebalance` waits for on the hub, and what it says became of a placement. No worker runs."""

import asyncio
from typing import Any

from services.cli.hub.rebalancing import Rebalanced, rebalanced
from shared.api import Placement
from shared.hub.names import PLACEMENT_LABEL, REBALANCE_ANNOTATION, binding_name, label_value
from shared.hub.resources import BINDINGS, PLACEMENTS
from shared.model.refs import PlacementRef
from tests.support.manifests import obj
from tests.support.scene import Scene
from tests.support.waiting import until


async def rebalance(scene: Scene, ref: PlacementRef, timeout: float = 30.0) -> Rebalanced:
    found = await scene.team.get(PLACEMENTS, ref.name, ref.namespace, type=Placement)
    (became,) = [each async for each in rebalanced(scene.team, [found], 1, timeout)]
    return became


async def asked(scene: Scene, ref: PlacementRef) -> bool:
    found = await scene.team.get(PLACEMENTS, ref.name, ref.namespace)
    return REBALANCE_ANNOTATION in (found["metadata"].get("annotations") or {})


async def bind(scene: Scene, ref: PlacementRef, target: str) -> None:
    """A PlacementBinding, as binding has one for as long as something is in a target."""
    name = binding_name(ref.name, f"{scene.provider}/{target}")
    spec = {
        "placementRef": {"name": ref.name, "namespace": ref.namespace, "uid": "x"},
        "target": {"workspace": scene.provider, "name": target},
        "manifests": [],
    }
    binding = obj("PlacementBinding", BINDINGS.api_version, name=name, namespace=ref.namespace, spec=spec)
    binding["metadata"]["labels"] = {PLACEMENT_LABEL: label_value(ref.name)}
    await scene.team.create(BINDINGS, binding)


async def decide(scene: Scene, ref: PlacementRef, target: str, *also_shown: str) -> None:
    """Decided for one target and Ready there; what it is being removed from is shown, too."""
    await scene.decide(ref, target)
    targets = [{"workspace": scene.provider, "name": each, "phase": "Ready"} for each in (target, *also_shown)]
    status: dict[str, Any] = {"status": {"phase": "Ready", "targets": targets}}
    await scene.team.merge_patch(PLACEMENTS, ref.name, status, ref.namespace, subresource="status")


async def test_one_that_runs_nowhere_is_not_asked(scene: Scene) -> None:
    ref = await scene.place()
    became = await rebalance(scene, ref)
    assert (became.state, became.why) == ("Skipped", "it runs nowhere")
    assert not await asked(scene, ref)


async def test_one_that_is_deleted_meanwhile_is_left_alone(scene: Scene) -> None:
    ref = await scene.place()
    await decide(scene, ref, "east")
    asking = asyncio.create_task(rebalance(scene, ref))
    await until(lambda: asked(scene, ref))
    await scene.team.delete(PLACEMENTS, ref.name, ref.namespace)
    became = await asking
    assert (became.state, became.why) == ("Skipped", "it was deleted meanwhile")


async def test_what_it_was_leaving_before_it_was_asked_is_not_waited_for(scene: Scene) -> None:
    ref = await scene.place()
    await decide(scene, ref, "east")
    await bind(scene, ref, "west")  # which is lost, say
    asking = asyncio.create_task(rebalance(scene, ref))
    await until(lambda: asked(scene, ref))
    await decide(scene, ref, "east", "west")
    assert (await asking).state == "Stays"


async def test_one_that_moved_is_waited_for_until_it_is_gone_from_where_it_was(scene: Scene) -> None:
    ref = await scene.place()
    await decide(scene, ref, "east")
    await bind(scene, ref, "east")
    asking = asyncio.create_task(rebalance(scene, ref, timeout=3.0))
    await until(lambda: asked(scene, ref))
    await decide(scene, ref, "west", "east")
    became = await asking
    assert (became.state, became.why) == ("Waits", f"it is being removed from {scene.provider}/east")


async def test_one_that_is_not_decided_anew_says_what_that_may_mean(scene: Scene) -> None:
    ref = await scene.place()
    await decide(scene, ref, "east")
    became = await rebalance(scene, ref, timeout=0.2)
    assert (became.state, became.why) == (
        "Waits",
        "it was not decided anew: it is held (see its status), or no controller of this version runs",
    )
