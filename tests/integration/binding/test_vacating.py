"""Break before make: what may not run twice starts in a target when it is gone elsewhere. Also in a real one."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from services.binding.binder import Binder
from services.sandbox.wire.http import Request
from shared.broker.bus import Retry
from shared.broker.table import Table
from shared.broker.tokens import join
from shared.hub.resources import PLACEMENTS, SYNCTARGETS
from shared.kube.resources import DEPLOYMENTS
from shared.model.refs import PlacementRef
from shared.pipeline.buckets import INVENTORY
from tests.integration.binding.places import in_any_target
from tests.support.manifests import condition
from tests.support.scene import BOUND, PLATFORM, TEAM, Scene

BREAKS: dict[str, Any] = {"stability": {"moves": "BreakBeforeMake"}}
HOLD: dict[str, Any] = {"metadata": {"finalizers": ["example.com/hold"]}}


async def placed(scene: Scene, binder: Binder) -> PlacementRef:
    await scene.workload()
    ref = await scene.place(**BREAKS)
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    return ref


async def lose(scene: Scene, target: str) -> None:
    table, key = Table(scene.store, INVENTORY), join(PLATFORM, target)
    entry = await table.get(key)
    assert entry is not None
    revision = await table.put(key, msgspec.structs.replace(entry.value, lost_since=1.0, ready=False))
    assert scene.inventory is not None
    assert await scene.inventory.reached(revision, BOUND)


@in_any_target
async def test_nothing_starts_while_anything_is_left_where_it_was_and_the_removal_waits_for_nobody(
    scene: Scene, binder: Binder
) -> None:
    ref = await placed(scene, binder)
    await scene.targets["east"].merge_patch(DEPLOYMENTS, "web", HOLD, "shop")
    head = await scene.decide(ref, "west")
    start = scene.assigned(ref, head, "west")
    with pytest.raises(Retry, match="once it is gone elsewhere: it is being removed from east"):
        await binder.bind(start)
    said = condition((await scene.binding(ref, "west") or {})["status"], "Applied")
    assert said["reason"] == "AwaitsRemoval"
    removal = scene.assigned(ref, head, remove=True)
    with pytest.raises(Retry, match="waits for finalizer"):
        await binder.bind(removal)
    with pytest.raises(Retry, match="waits for finalizer"):
        await binder.bind(start)
    assert await scene.in_target(target="west") is None
    await scene.targets["east"].merge_patch(DEPLOYMENTS, "web", {"metadata": {"finalizers": None}}, "shop")
    removed = await scene.insist(binder, removal)
    assert removed is not None
    assert removed.phase == "Removed"
    await scene.insist(binder, start)
    assert await scene.in_target(target="west") is not None
    assert await scene.in_target() is None


async def test_who_returns_in_between_goes_on_running_where_nothing_was_taken_away_yet(
    scene: Scene, binder: Binder
) -> None:
    ref = await placed(scene, binder)
    before = await scene.in_target()
    head = await scene.decide(ref, "west")
    with pytest.raises(Retry):
        await binder.bind(scene.assigned(ref, head, "west"))
    again = await scene.decide(ref, "east")
    await scene.insist(binder, scene.assigned(ref, again))
    await scene.insist(binder, scene.assigned(ref, again, "west", remove=True))
    after = await scene.in_target()
    assert before is not None
    assert after is not None
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert await scene.in_target(target="west") is None
    assert await scene.binding(ref, "west") is None


async def test_who_returns_when_the_other_has_begun_waits_in_turn(scene: Scene, binder: Binder) -> None:
    ref = await placed(scene, binder)
    head = await scene.decide(ref, "west")
    await scene.insist(binder, scene.assigned(ref, head, remove=True))
    await scene.insist(binder, scene.assigned(ref, head, "west"))
    again = await scene.decide(ref, "east")
    with pytest.raises(Retry, match="removed from west"):
        await binder.bind(scene.assigned(ref, again))
    await scene.insist(binder, scene.assigned(ref, again, "west", remove=True))
    await scene.insist(binder, scene.assigned(ref, again))
    assert await scene.in_target() is not None
    assert await scene.in_target(target="west") is None


async def test_who_looked_before_another_decision_and_begins_after_it_begins_nothing(
    scene: Scene, new_binder: Callable[..., Binder]
) -> None:
    """It may start; and before its binding is made, the placement is decided back, and starts there."""
    binder, other = new_binder(), new_binder()
    ref = await placed(scene, binder)
    head = await scene.decide(ref, "west")
    await scene.insist(binder, scene.assigned(ref, head, remove=True))
    changed = False

    async def decide_otherwise(request: Request) -> None:
        nonlocal changed
        if request.method == "POST" and request.path.endswith("/placementbindings") and not changed:
            changed = True
            await scene.insist(other, scene.assigned(ref, await scene.decide(ref, "east")))

    scene.tap(before=decide_otherwise)
    await scene.insist(binder, scene.assigned(ref, head, "west"))
    assert changed
    assert await scene.in_target() is not None
    assert await scene.in_target(target="west") is None
    assert await scene.binding(ref, "west") is None


async def test_a_lost_target_is_waited_for_until_somebody_says_that_it_is_gone(scene: Scene, binder: Binder) -> None:
    ref = await placed(scene, binder)
    await lose(scene, "east")
    head = await scene.decide(ref, "west")
    start = scene.assigned(ref, head, "west")
    with pytest.raises(Retry, match="moorage cluster leave east --abandon"):
        await binder.bind(start)
    await scene.platform.delete(SYNCTARGETS, "east")
    await scene.withdraw("east", from_hub=False)
    assert scene.inventory is not None
    bound = await scene.insist(binder, scene.assigned(ref, head, remove=True))
    assert bound is not None
    assert "out of reach" in bound.message
    await scene.insist(binder, start)
    assert await scene.in_target(target="west") is not None


async def test_who_says_that_it_may_run_twice_after_all_is_waited_for_no_more(scene: Scene, binder: Binder) -> None:
    ref = await placed(scene, binder)
    await lose(scene, "east")
    head = await scene.decide(ref, "west")
    with pytest.raises(Retry):
        await binder.bind(scene.assigned(ref, head, "west"))
    spec = {"spec": {"stability": {"moves": "MakeBeforeBreak"}}}
    await scene.hub.cluster(TEAM).merge_patch(PLACEMENTS, ref.name, spec, ref.namespace)
    await scene.insist(binder, scene.assigned(ref, head, "west"))
    assert await scene.in_target(target="west") is not None
