"""What is asked of the servers, and what is known without asking."""

from collections.abc import Callable

import msgspec
import pytest

from services.binding.binder import Binder
from shared.broker.bus import Retry
from shared.broker.table import Table
from shared.broker.tokens import join
from shared.hub.names import CLAIM_ANNOTATION
from shared.kube.resources import DEPLOYMENTS, NAMESPACES
from shared.model.refs import PlacementRef
from shared.pipeline.buckets import INVENTORY
from tests.support.scene import BOUND, PLATFORM, TEAM, Scene

MINUTE = 61.0


async def placed(scene: Scene, name: str) -> PlacementRef:
    await scene.workload(name=name)
    return await scene.place(name)


async def known(scene: Scene, claims: dict[str, str | None], target: str = "east") -> None:
    """Have the inventory say whose namespaces of a target are."""
    table, key = Table(scene.store, INVENTORY), join(PLATFORM, target)
    entry = await table.get(key)
    assert entry is not None
    revision = await table.put(key, msgspec.structs.replace(entry.value, claims=claims))
    assert scene.inventory is not None
    assert await scene.inventory.reached(revision, BOUND)


async def test_what_is_placed_into_a_warm_target_takes_three_requests_there(scene: Scene, binder: Binder) -> None:
    first, second = await placed(scene, "first"), await placed(scene, "second")
    await scene.insist(binder, scene.assigned(first, await scene.decide(first, "east")))
    message = scene.assigned(second, await scene.decide(second, "east"))
    requests = scene.count_requests("target:east")
    await scene.insist(binder, message)
    assert [each.split()[0] for each in requests] == ["POST", "GET", "PATCH"]
    assert requests[0].endswith("/namespaces/moorage-system/configmaps")


async def test_what_changed_nothing_about_its_kinds_writes_no_parent(scene: Scene, binder: Binder) -> None:
    ref = await placed(scene, "web")
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    await scene.team.merge_patch(DEPLOYMENTS, "web", {"spec": {"replicas": 5}}, "shop")
    message = scene.assigned(ref, await scene.decide(ref, "east"))
    requests = scene.count_requests("target:east")
    await scene.insist(binder, message)
    assert not [each for each in requests if "configmaps" in each and not each.startswith("GET")]


async def test_a_namespace_that_the_inventory_knows_as_ours_is_not_asked_about(
    scene: Scene, new_binder: Callable[..., Binder]
) -> None:
    await scene.claim(TEAM)
    ref = await placed(scene, "web")
    message = scene.assigned(ref, await scene.decide(ref, "east"))
    binder = new_binder()
    await known(scene, {"shop": TEAM})
    requests = scene.count_requests("target:east")
    await scene.insist(binder, message)
    assert not [each for each in requests if each.endswith("/namespaces/shop")]


async def test_a_namespace_that_was_ours_a_minute_ago_is_asked_about_again(scene: Scene, binder: Binder) -> None:
    first, second = await placed(scene, "first"), await placed(scene, "second")
    await scene.insist(binder, scene.assigned(first, await scene.decide(first, "east")))
    taken = {"metadata": {"annotations": {CLAIM_ANNOTATION: "root:somebody"}}}
    await scene.targets["east"].merge_patch(NAMESPACES, "shop", taken)
    message = scene.assigned(second, await scene.decide(second, "east"))
    scene.ahead += MINUTE
    with pytest.raises(Retry, match="another workspace"):
        await binder.bind(message)
    assert "Deployment second" not in await scene.managed()


async def test_a_namespace_that_is_gone_though_it_was_known_is_made_again(scene: Scene, binder: Binder) -> None:
    await known(scene, {"shop": TEAM})
    ref = await placed(scene, "web")
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    found = await scene.targets["east"].get(NAMESPACES, "shop")
    assert found["metadata"]["annotations"] == {CLAIM_ANNOTATION: TEAM}
    assert await scene.managed() == {"Deployment web"}
