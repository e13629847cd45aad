"""Namespaces that we made in a target and nobody uses: removed. In the sandbox, and with real controllers."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from services.binding.binder import Binder
from services.binding.settings import BindingSettings
from services.binding.target.reach import Reach
from services.binding.target.spaces import remove_unused
from services.binding.unused import UnusedNamespaces
from services.sandbox.wire.http import Request
from shared.broker.table import Table
from shared.broker.tokens import join
from shared.hub.hub import Hub
from shared.hub.names import CLAIM_ANNOTATION
from shared.hub.targets import TargetClients
from shared.kube.resources import CONFIGMAPS, DEPLOYMENTS, NAMESPACES
from shared.pipeline.buckets import BINDING_COPIES, INVENTORY
from shared.pipeline.copies import Copies
from tests.integration.binding.places import in_any_target
from tests.support.client import if_there
from tests.support.manifests import obj
from tests.support.perimeter import BESIDE_US
from tests.support.scene import PLATFORM, TEAM, Scene
from tests.support.waiting import until


@pytest.fixture
async def unused(scene: Scene, binder: Binder) -> AsyncIterator[UnusedNamespaces]:
    """Removes what is unused for a minute."""
    assert scene.inventory is not None
    clients = TargetClients(Hub(scene.hub, "kcp"), user_agent="test", timeout=5.0, perimeter=BESIDE_US)
    reach = Reach(BindingSettings(), clients, scene.inventory, scene.clock)
    table = Table(scene.store, BINDING_COPIES)
    copies = Copies(table, table.follow(), clock=scene.clock)
    yield UnusedNamespaces(60.0, reach=reach, inventory=scene.inventory, copies=copies, clock=scene.clock)
    await clients.close()


async def _used_once(scene: Scene, binder: Binder) -> None:
    """Something was placed in the namespace, and is gone."""
    await scene.workload()
    ref = await scene.place()
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref), remove=True))


async def _remove(scene: Scene) -> str:
    return await remove_unused(scene.targets["east"], "shop")


async def _is_there(scene: Scene) -> bool:
    return await if_there(scene.targets["east"].get(NAMESPACES, "shop")) is not None


async def _gone(scene: Scene) -> None:
    async def gone() -> bool:
        return not await _is_there(scene)

    await until(gone, "the namespace is gone", within=60.0)


@in_any_target
async def test_a_namespace_that_we_made_is_removed_once_nobody_uses_it_and_is_made_anew_when_needed(
    scene: Scene, binder: Binder
) -> None:
    await _used_once(scene, binder)
    assert await _is_there(scene)
    assert await _remove(scene) == ""
    await _gone(scene)
    ref = await scene.place("again", workload=[{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}])
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    assert await scene.managed() == {"Deployment web"}


@in_any_target
async def test_a_namespace_that_somebody_has_put_something_into_stays(scene: Scene, binder: Binder) -> None:
    await _used_once(scene, binder)
    await scene.targets["east"].create(CONFIGMAPS, obj("ConfigMap", name="theirs", data={}))
    assert await _remove(scene) == "ConfigMap theirs is in it"
    assert await _is_there(scene)


@in_any_target
async def test_a_namespace_that_something_is_placed_in_stays(scene: Scene, binder: Binder) -> None:
    await scene.workload()
    ref = await scene.place()
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    east = scene.targets["east"]
    assert await _remove(scene) == "Deployment web is in it"
    await east.delete(DEPLOYMENTS, "web", "shop")  # and it is put back before long
    assert await _remove(scene) == "something is placed in it"


@in_any_target
async def test_a_namespace_that_was_there_before_or_was_made_anew_is_not_ours(scene: Scene, binder: Binder) -> None:
    east, said = scene.targets["east"], "somebody else has made it, or written on it"
    await scene.claim(TEAM)
    await _used_once(scene, binder)
    assert await _remove(scene) == said
    await east.delete(NAMESPACES, "shop")
    await _gone(scene)
    ref = await scene.place("again", workload=[{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}])
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    ours = await east.get(NAMESPACES, "shop")
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref), remove=True))
    await east.delete(NAMESPACES, "shop")
    await _gone(scene)
    kept = {key: ours["metadata"][key] for key in ("name", "annotations")}  # as a backup brings it back
    restored = {**ours, "metadata": {**kept, "managedFields": ours["metadata"]["managedFields"]}}
    past = [{**each, "time": "2026-01-01T00:00:00Z"} for each in restored["metadata"]["managedFields"]]
    restored["metadata"]["managedFields"] = past
    await east.create(NAMESPACES, restored, field_manager="backup")
    assert await _remove(scene) == said


@in_any_target
async def test_a_namespace_that_its_owner_wrote_on_stays(scene: Scene, binder: Binder) -> None:
    await _used_once(scene, binder)
    given = {"metadata": {"annotations": {CLAIM_ANNOTATION: "root:somebody"}}}
    await scene.targets["east"].merge_patch(NAMESPACES, "shop", given, field_manager="owner")
    assert await _remove(scene) == "somebody else has made it, or written on it"


async def test_it_is_removed_after_a_while_and_where_that_fails_looked_at_again_later(
    scene: Scene, binder: Binder, unused: UnusedNamespaces
) -> None:
    await _used_once(scene, binder)
    await _say_unused(scene)
    await unused.look()
    scene.ahead = 59.0
    await unused.look()
    assert await _is_there(scene)
    scene.ready.sandbox.set_available("east", False)
    scene.ahead = 61.0
    await unused.look()
    scene.ready.sandbox.set_available("east", True)
    await unused.look()
    assert await _is_there(scene)
    scene.ahead = 1000.0
    await unused.look()
    assert not await _is_there(scene)


async def test_a_namespace_that_is_used_again_meanwhile_begins_anew(
    scene: Scene, binder: Binder, unused: UnusedNamespaces
) -> None:
    await _used_once(scene, binder)
    await _say_unused(scene)
    await unused.look()
    await _say_unused(scene, names=())
    scene.ahead = 61.0
    await unused.look()
    await _say_unused(scene)
    await unused.look()
    assert await _is_there(scene)


async def test_where_a_kind_cannot_be_listed_nobody_knows_and_it_stays(scene: Scene, binder: Binder) -> None:
    await _used_once(scene, binder)
    sandbox = scene.ready.sandbox
    handle = sandbox.handle

    async def broken(request: Request) -> Any:
        if request.path.endswith("/namespaces/shop/secrets"):
            sandbox.set_available("east", False)
        answer = await handle(request)
        sandbox.set_available("east", True)
        return answer

    sandbox.handle = broken  # type: ignore[method-assign]  # it is looked up for every request
    with pytest.raises(Exception, match="503"):
        await _remove(scene)
    sandbox.handle = handle  # type: ignore[method-assign]
    assert await _is_there(scene)


async def _say_unused(scene: Scene, names: tuple[str, ...] = ("shop",)) -> None:
    """As discovery does."""
    table, key = Table(scene.store, INVENTORY), join(PLATFORM, "east")
    entry = await table.get(key)
    assert entry is not None
    assert scene.inventory is not None
    revision = await table.put(key, msgspec.structs.replace(entry.value, unused=names))
    assert await scene.inventory.reached(revision, 10.0)
