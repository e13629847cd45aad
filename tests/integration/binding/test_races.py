"""Messages that come twice, late, or at once, and workers that die between any two requests."""

import asyncio
import contextlib
from collections.abc import Callable

import pytest

from services.binding.binder import Binder
from services.sandbox.wire.http import Request
from shared.broker.bus import Retry
from shared.hub.names import OWNER_ANNOTATION, binding_name
from shared.hub.resources import BINDINGS
from shared.kube.errors import ApiError
from shared.kube.resources import CONFIGMAPS, CRDS
from shared.model.refs import PlacementRef
from shared.pipeline.messages import Assigned
from tests.support.owning import apply, place, refused, stands
from tests.support.scene import PLATFORM, RIVAL, Scene

ENV_FROM = {"container": {"envFrom": [{"configMapRef": {"name": "settings"}}]}}
LEASE = 30.0  # seconds, longer than that of a binding


async def test_an_old_apply_that_comes_again_after_the_removal_applies_nothing(scene: Scene, binder: Binder) -> None:
    await scene.workload()
    ref = await scene.place()
    old = scene.assigned(ref, await scene.decide(ref, "east"))
    await scene.insist(binder, old)
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref), remove=True))
    bound = await scene.insist(binder, old)
    assert bound is not None
    assert bound.phase == "Removed"
    assert await scene.binding(ref) is None
    assert await scene.managed() == set()


async def test_an_older_message_does_not_overwrite_a_newer_one(scene: Scene, binder: Binder) -> None:
    await scene.workload(replicas=9)
    ref = await scene.place(replicas={"division": "Weighted"})
    old = scene.assigned(ref, await scene.decide(ref, "east", replicas=3), replicas=3)
    new = scene.assigned(ref, await scene.decide(ref, "east", replicas=5), replicas=5)
    await scene.insist(binder, new)
    assert await scene.insist(binder, old) is None
    found = await scene.in_target()
    assert found is not None
    assert found["spec"]["replicas"] == 5


async def test_a_late_message_applies_what_the_newest_decision_says(scene: Scene, binder: Binder) -> None:
    await scene.workload(replicas=9)
    ref = await scene.place(replicas={"division": "Weighted"})
    old = scene.assigned(ref, await scene.decide(ref, "east", replicas=3), replicas=3)
    await scene.decide(ref, "east", replicas=5)
    await scene.insist(binder, old)
    found = await scene.in_target()
    assert found is not None
    assert found["spec"]["replicas"] == 5


async def test_a_decision_against_the_target_during_the_first_write_is_seen(scene: Scene, binder: Binder) -> None:
    await scene.workload()
    ref = await scene.place()
    old = scene.assigned(ref, await scene.decide(ref, "east"))
    changed = False

    async def decide_otherwise(request: Request) -> None:
        nonlocal changed
        if request.method == "POST" and request.path.endswith("/placementbindings") and not changed:
            changed = True
            await scene.decide(ref)

    scene.tap(before=decide_otherwise)
    bound = await scene.insist(binder, old)
    assert changed
    assert bound is not None
    assert bound.phase == "Removed"
    assert await scene.binding(ref) is None
    assert await scene.managed() == set()


async def test_a_target_is_left_to_whoever_holds_the_lease(scene: Scene, new_binder: Callable[..., Binder]) -> None:
    await scene.workload()
    ref = await scene.place()
    message = scene.assigned(ref, await scene.decide(ref, "east"))
    await kill_at(scene, new_binder(), message, 1, where="/clusters/target:east/")
    requests = scene.count_requests("target:east")
    with pytest.raises(Retry, match="another worker"):
        await new_binder().bind(message)
    assert requests == []
    scene.ahead = LEASE
    await scene.insist(new_binder(), message)
    assert await scene.managed() == {"Deployment web"}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_apply_and_removal_at_once_end_as_decided_last(
    scene: Scene, new_binder: Callable[..., Binder], order: tuple[int, int]
) -> None:
    await scene.workload(**ENV_FROM)
    await scene.config()
    ref = await scene.place()
    apply = scene.assigned(ref, await scene.decide(ref, "east"))
    remove = scene.assigned(ref, await scene.decide(ref), remove=True)
    messages = [(apply, remove)[number] for number in order]
    await asyncio.gather(*(scene.insist(new_binder(), message) for message in messages))
    assert await scene.binding(ref) is None
    assert await scene.managed() == set()


async def test_two_applies_at_once_end_with_the_newer(scene: Scene, new_binder: Callable[..., Binder]) -> None:
    await scene.workload(replicas=9)
    ref = await scene.place(replicas={"division": "Weighted"})
    messages = [
        scene.assigned(ref, await scene.decide(ref, "east", replicas=count), replicas=count) for count in (2, 4, 6)
    ]
    await asyncio.gather(*(scene.insist(new_binder(), message) for message in messages))
    found, binding = await scene.in_target(), await scene.binding(ref)
    assert found is not None
    assert binding is not None
    assert found["spec"]["replicas"] == 6
    assert binding["spec"]["replicas"] == 6
    assert binding["metadata"]["annotations"]["placement.moorage.io/attempt"] == "3"


async def test_a_worker_may_die_after_any_request_of_an_apply(scene: Scene, new_binder: Callable[..., Binder]) -> None:
    await scene.config()
    number = 0
    while True:
        number += 1
        ref = await placed(scene, f"web-{number}")
        message = scene.assigned(ref, await scene.decide(ref, "east"))
        died = await kill_at(scene, new_binder(), message, number)
        scene.ahead += LEASE
        if number % 2:  # the same message comes again
            await scene.insist(new_binder(), message)
            assert f"Deployment web-{number}" in await scene.managed()
        await scene.insist(new_binder(), scene.assigned(ref, await scene.decide(ref), remove=True))
        assert await scene.binding(ref) is None
        assert await scene.managed() == set()
        if not died:
            break
    assert number > 10


async def test_a_worker_may_die_after_any_request_of_a_removal(scene: Scene, new_binder: Callable[..., Binder]) -> None:
    await scene.config()
    number = 0
    while True:
        number += 1
        ref = await placed(scene, f"web-{number}")
        await scene.insist(new_binder(), scene.assigned(ref, await scene.decide(ref, "east")))
        removal = scene.assigned(ref, await scene.decide(ref), remove=True)
        died = await kill_at(scene, new_binder(), removal, number)
        scene.ahead += LEASE
        await scene.insist(new_binder(), removal)
        assert await scene.binding(ref) is None
        assert await scene.managed() == set()
        if not died:
            break
    assert number > 5


async def test_an_edit_of_the_binding_while_it_is_applied_is_kept(scene: Scene, binder: Binder) -> None:
    await scene.workload()
    ref = await scene.place()
    message = scene.assigned(ref, await scene.decide(ref, "east"))
    edited = False

    async def edit(request: Request) -> None:
        nonlocal edited
        if request.method == "PATCH" and request.path.endswith("/deployments/web") and not edited:
            edited = True
            patch = {"metadata": {"labels": {"team": "shop"}}}
            await scene.team.merge_patch(BINDINGS, binding_name("web", f"{PLATFORM}/east"), patch, "shop")

    scene.tap(before=edit)
    bound = await binder.bind(message)
    assert bound is not None
    assert bound.phase == "Applied"
    binding = await scene.binding(ref)
    assert binding is not None
    assert binding["metadata"]["labels"]["team"] == "shop"
    assert binding["status"]["phase"] == "Applied"


async def test_a_binding_that_vanishes_while_it_is_applied_is_made_anew(scene: Scene, binder: Binder) -> None:
    await scene.workload()
    ref = await scene.place()
    message = scene.assigned(ref, await scene.decide(ref, "east"))
    name, torn = binding_name("web", f"{PLATFORM}/east"), False

    async def tear_out(request: Request) -> None:
        nonlocal torn
        if request.method == "PATCH" and request.path.endswith("/deployments/web") and not torn:
            torn = True
            await scene.team.merge_patch(BINDINGS, name, {"metadata": {"finalizers": None}}, "shop")
            await scene.team.delete(BINDINGS, name, "shop")

    scene.tap(before=tear_out)
    with pytest.raises(Retry, match="changed by others"):
        await binder.bind(message)
    await scene.insist(binder, message)
    assert await scene.binding(ref) is not None
    assert await scene.managed() == {"Deployment web"}


@pytest.mark.parametrize("taken_over", [False, True])
async def test_an_object_that_changes_while_it_is_deleted_is_looked_at_again(
    scene: Scene, binder: Binder, taken_over: bool
) -> None:
    await scene.workload(**ENV_FROM)
    await scene.config()
    ref = await scene.place()
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    changes: list[str] = []

    async def change(request: Request) -> None:
        if request.method == "DELETE" and request.path.endswith("/configmaps/settings") and len(changes) < 2:
            changes.append("changed")
            other = {"applyset.kubernetes.io/part-of": "theirs"} if taken_over else {"n": str(len(changes))}
            patch = {"metadata": {"labels": other}}
            await scene.targets["east"].merge_patch(CONFIGMAPS, "settings", patch, "shop")

    scene.tap(before=change)
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref), remove=True))
    found = await scene.in_target(CONFIGMAPS, "settings")
    assert len(changes) == (1 if taken_over else 2)
    assert (found is not None) is taken_over


async def test_a_set_that_a_removed_api_belonged_to_can_still_be_cleared(scene: Scene, binder: Binder) -> None:
    await scene.workload()
    ref = await scene.place()
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    parent = (await scene.targets["east"].list(CONFIGMAPS, "moorage-system")).items[0]
    kinds = {"placement.moorage.io/kinds": "apps/v1 Deployment,shop.io/v1 Basket"}
    await scene.targets["east"].merge_patch(
        CONFIGMAPS, parent["metadata"]["name"], {"metadata": {"annotations": kinds}}, "moorage-system"
    )
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref), remove=True))
    assert await scene.managed() == set()


async def placed(scene: Scene, name: str) -> PlacementRef:
    await scene.workload(name=name, **ENV_FROM)
    return await scene.place(name)


async def kill_at(scene: Scene, binder: Binder, message: Assigned, number: int, where: str = "/clusters/") -> bool:
    """Let a worker handle a message and end it once its request of that number was handled; whether it came to that.

    The answer never arrives, as with kill -9.
    """
    count = 0
    reached = asyncio.Event()
    handle = scene.ready.sandbox.handle

    async def after(request: Request) -> None:
        nonlocal count
        if request.path.startswith(where):
            count += 1
            if count == number:
                reached.set()
                await asyncio.sleep(3600)  # until the connection is gone

    scene.tap(after=after)
    working = asyncio.create_task(binder.bind(message))
    dying = asyncio.create_task(reached.wait())
    try:
        async with asyncio.timeout(10):
            await asyncio.wait((working, dying), return_when=asyncio.FIRST_COMPLETED)
    finally:
        scene.ready.sandbox.handle = handle  # type: ignore[method-assign]
        working.cancel()
        dying.cancel()
        with contextlib.suppress(asyncio.CancelledError, Retry):
            await working
    return reached.is_set()


async def test_what_may_not_run_twice_never_does_whoever_dies_when_on_its_way(
    scene: Scene, new_binder: Callable[..., Binder]
) -> None:
    """Each of removing and starting dies after each request, while another starts before a lease is over."""
    twice: list[str] = []

    async def look(request: Request) -> None:
        if (
            request.method == "PATCH"
            and request.path.startswith("/clusters/target:west/")
            and "/deploy" in request.path
        ):
            name = request.path.rpartition("/")[2]
            if await scene.in_target(name=name) is not None:
                twice.append(name)

    scene.tap(before=look)
    number, died = 0, True
    while died:
        number += 1
        name = f"web-{number}"
        await scene.workload(name=name)
        ref = await scene.place(name, stability={"moves": "BreakBeforeMake"})
        await scene.insist(new_binder(), scene.assigned(ref, await scene.decide(ref, "east")))
        head = await scene.decide(ref, "west")
        removal, start = scene.assigned(ref, head, remove=True), scene.assigned(ref, head, "west")
        died = await kill_at(scene, new_binder(), removal, number)
        with contextlib.suppress(Retry):
            await new_binder().bind(start)
        scene.ahead += LEASE
        await scene.insist(new_binder(), removal)
        died |= await kill_at(scene, new_binder(), start, number)
        scene.ahead += LEASE
        await scene.insist(new_binder(), start)
        assert await scene.in_target(name=name, target="west") is not None
        assert await scene.in_target(name=name) is None
        assert twice == []
    assert number > 8


@pytest.mark.parametrize("kind", ["placements", "placementdecisions", "placementbindings"])
async def test_a_kind_that_is_not_served_for_a_while_says_nothing_of_its_objects(
    scene: Scene, binder: Binder, kind: str
) -> None:
    await scene.workload()
    ref = await scene.place()
    message = scene.assigned(ref, await scene.decide(ref, "east"))
    await scene.insist(binder, message)
    definition = f"{kind}.placement.moorage.io"
    versions = (await scene.team.get(CRDS, definition))["spec"]["versions"]
    unserved = {"spec": {"versions": [{**version, "served": False} for version in versions]}}
    await scene.team.merge_patch(CRDS, definition, unserved)
    with pytest.raises(ApiError, match="404"):
        await binder.bind(message)
    assert await scene.managed() == {"Deployment web"}


async def test_who_is_slower_at_making_a_namespace_is_refused(scene: Scene, binder: Binder) -> None:
    ours, theirs = await place(scene), await place(scene, RIVAL)
    raced = False

    async def faster(request: Request) -> None:
        nonlocal raced
        if request.method == "POST" and request.path == "/clusters/target:east/api/v1/namespaces" and not raced:
            raced = True
            await apply(scene, binder, theirs)

    scene.tap(before=faster)
    await refused(scene, binder, ours, "NamespaceClaimed")
    found = await stands(scene)
    assert found["metadata"]["annotations"][OWNER_ANNOTATION] == f"{RIVAL}|shop|web"
