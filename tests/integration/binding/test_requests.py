"""What is asked of the servers, and what is known without asking."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from services.binding import lease
from services.binding.binder import Binder
from services.sandbox.wire.http import Request
from shared.api import decode_binding, decode_placement
from shared.broker.bus import Retry
from shared.broker.table import Table
from shared.broker.tokens import join
from shared.hub.names import CLAIM_ANNOTATION
from shared.hub.rendering import input_digest, source_hash
from shared.hub.resources import DECISIONS, PLACEMENTS
from shared.kube.errors import ApiError, Unreachable
from shared.kube.resources import DEPLOYMENTS, NAMESPACES
from shared.model.refs import PlacementRef
from shared.pipeline.buckets import INVENTORY
from shared.pipeline.messages import Assigned
from tests.support.manifests import deployment
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


async def test_where_nothing_was_placed_yet_nobody_looks_for_what_cannot_be_there(scene: Scene, binder: Binder) -> None:
    ref = await placed(scene, "web")
    message = scene.assigned(ref, await scene.decide(ref, "east"))
    requests = scene.count_requests("target:east")
    await scene.insist(binder, message)
    looks = [each for each in requests if each.startswith("GET")]
    assert not [each for each in looks if "configmaps" in each or each.endswith("/namespaces/shop")]


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


async def decided(scene: Scene, ref: PlacementRef, *targets: str) -> list[Assigned]:
    """Messages of a first attempt, as decision sends them."""
    found = decode_placement(await scene.team.get(PLACEMENTS, ref.name, ref.namespace))
    workload = await scene.team.get(DEPLOYMENTS, ref.name, ref.namespace)
    digest = input_digest(found.spec, [source_hash(workload)])
    scene.attempt = 0
    head = await scene.decide(ref, *targets, digest=digest)
    return [scene.assigned(ref, head, target, digest=digest) for target in targets]


async def test_targets_that_are_bound_at_once_share_what_is_read_on_the_hub(scene: Scene, binder: Binder) -> None:
    warm = await placed(scene, "warm")
    await scene.insist(binder, scene.assigned(warm, await scene.decide(warm, "east")))
    ref = await placed(scene, "web")
    messages = await decided(scene, ref, "east", "west")
    requests = scene.count_requests(TEAM)
    await asyncio.gather(*(binder.bind(message) for message in messages))
    read = sorted(each.rsplit("/", 2)[-2] for each in requests if each.startswith("GET"))
    # The namespace is read for the labels of the one that is made in west; the last are the Services in it. What is
    # read is shared while it is under way: where one of the two is behind, some is read again.
    assert set(read) == {"deployments", "namespaces", "placementdecisions", "placements", "shop"}
    assert len(read) <= 7


async def test_placements_that_are_bound_at_once_share_the_list_of_services_of_their_namespace(
    scene: Scene, binder: Binder
) -> None:
    refs = [await placed(scene, f"web-{number}") for number in range(8)]
    messages = [scene.assigned(ref, await scene.decide(ref, "east")) for ref in refs]
    requests = scene.count_requests(TEAM)
    await asyncio.gather(*(scene.insist(binder, message) for message in messages))
    # One for who asks first, the next for who asked meanwhile; who is behind all of these asks once more.
    assert 0 < sum(each.partition("?")[0].endswith("/namespaces/shop/services") for each in requests) <= 4


async def of_many(scene: Scene, *names: str) -> PlacementRef:
    """A Placement of several Deployments."""
    for name in names:
        await scene.workload(name=name)
    return await scene.place(
        "many", workload=[{"apiVersion": "apps/v1", "kind": "Deployment", "name": n} for n in names]
    )


async def test_of_many_objects_it_is_found_out_at_once_that_none_is_there(scene: Scene, binder: Binder) -> None:
    ref = await of_many(scene, *"abcde")
    message = scene.assigned(ref, await scene.decide(ref, "east"))
    requests = scene.count_requests("target:east")
    await scene.insist(binder, message)
    asked = [each for each in requests if "/deployments" in each and each.startswith("GET")]
    assert [each.rsplit("/", 1)[1] for each in asked] == ["deployments"]
    assert await scene.managed() == {f"Deployment {name}" for name in "abcde"}


async def test_one_of_many_objects_that_was_there_before_is_not_taken_over(scene: Scene, binder: Binder) -> None:
    await scene.claim(TEAM)
    await scene.targets["east"].create(DEPLOYMENTS, deployment("c", replicas=7))
    ref = await of_many(scene, *"abcde")
    with pytest.raises(Retry, match="was in the target before"):
        await binder.bind(scene.assigned(ref, await scene.decide(ref, "east")))
    found = await scene.in_target(name="c")
    assert found is not None
    assert found["spec"]["replicas"] == 7


async def test_where_there_are_many_more_objects_each_one_is_asked_for(scene: Scene, binder: Binder) -> None:
    await scene.claim(TEAM)
    for number in range(12):
        await scene.targets["east"].create(DEPLOYMENTS, deployment(f"other-{number}"))
    await scene.targets["east"].create(DEPLOYMENTS, deployment("c", replicas=7))
    ref = await of_many(scene, *"abcde")
    with pytest.raises(Retry, match="was in the target before"):
        await binder.bind(scene.assigned(ref, await scene.decide(ref, "east")))


async def test_a_first_attempt_takes_one_write_on_the_hub_before_the_target_and_one_after(
    scene: Scene, binder: Binder
) -> None:
    ref = await placed(scene, "web")
    (message,) = await decided(scene, ref, "east")
    requests = scene.count_requests(TEAM)
    await binder.bind(message)
    written = [each.split()[0] for each in requests if "placementbindings" in each]
    assert written == ["POST", "PUT"]


async def test_a_removal_marks_the_binding_leases_it_and_lets_it_go(scene: Scene, binder: Binder) -> None:
    ref = await placed(scene, "web")
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    message = scene.assigned(ref, await scene.decide(ref), remove=True)
    hub, target = scene.count_requests(TEAM), scene.count_requests("target:east")
    await binder.bind(message)
    assert [each.split()[0] for each in hub if not each.startswith("GET")] == ["DELETE", "PATCH", "PATCH"]
    assert len([each for each in hub if each.startswith("GET")]) == 3  # Placement, decision, who else wants what goes
    assert [each.split()[0] for each in target if "configmaps" in each] == ["GET", "DELETE"]


async def test_what_is_decided_anew_while_a_binding_is_made_is_applied_under_the_same_lease(
    scene: Scene, binder: Binder
) -> None:
    ref = await placed(scene, "web")
    (message,) = await decided(scene, ref, "east")
    changed = False

    async def decide_otherwise(request: Request) -> None:
        nonlocal changed
        if request.method == "POST" and request.path.endswith("/placementbindings") and not changed:
            changed = True
            await scene.decide(ref, "east", replicas=5, digest=message.digest)

    scene.tap(before=decide_otherwise)
    bound = await binder.bind(message)
    assert changed
    assert bound is not None
    assert bound.phase == "Applied"
    binding = await scene.binding(ref)
    assert binding is not None
    assert binding["spec"]["replicas"] == 5


async def test_a_lease_whose_write_was_not_answered_keeps_the_worker_that_took_it_from_nothing(
    scene: Scene, new_binder: Callable[..., Binder]
) -> None:
    ref = await placed(scene, "web")
    (message,) = await decided(scene, ref, "east")
    lost = False

    async def lose_the_answer(request: Request) -> None:
        nonlocal lost
        if request.method == "POST" and request.path.endswith("/placementbindings") and not lost:
            lost = True
            raise OSError("the connection broke")

    scene.tap(after=lose_the_answer)
    one, other = new_binder(), new_binder()
    with pytest.raises((ApiError, Unreachable)):
        await one.bind(message)
    with pytest.raises(Retry, match="another worker"):
        await other.bind(message)
    bound = await one.bind(message)
    assert bound is not None
    assert bound.phase == "Applied"


async def test_a_target_that_is_left_alone_leaves_no_lease_behind(
    scene: Scene, new_binder: Callable[..., Binder]
) -> None:
    ref = await placed(scene, "web")
    (message,) = await decided(scene, ref, "east")
    binder = new_binder(breaker_failures=1, apply_timeout_seconds=0.3)
    await scene.use_token("east", "wrong")
    with pytest.raises(Retry):
        await binder.bind(message)
    binding = await scene.binding(ref)
    assert binding is not None
    assert lease.remaining(decode_binding(binding), scene.clock(), 25.0) == 0


async def test_a_first_attempt_that_nobody_decided_leaves_nothing_behind(scene: Scene, binder: Binder) -> None:
    ref = await placed(scene, "web")
    (decided_for_west,) = await decided(scene, ref, "west")
    forged = msgspec.structs.replace(decided_for_west, target=f"{PLATFORM}/east")
    requests = scene.count_requests("target:east")
    await scene.insist(binder, forged)
    assert await scene.binding(ref) is None
    assert not [each for each in requests if not each.startswith("GET")]


async def test_a_first_attempt_without_any_decision_leaves_nothing_behind(scene: Scene, binder: Binder) -> None:
    ref = await placed(scene, "web")
    (message,) = await decided(scene, ref, "east")
    await scene.team.delete(DECISIONS, ref.name, ref.namespace)
    requests = scene.count_requests("target:east")
    assert await binder.bind(message) is None
    assert await scene.binding(ref) is None
    assert requests == []


async def test_a_decision_for_a_placement_that_came_after_is_not_acted_on(scene: Scene, binder: Binder) -> None:
    ref = await placed(scene, "web")
    (message,) = await decided(scene, ref, "east")
    another = await scene.place("another")
    uid = (await scene.team.get(PLACEMENTS, another.name, another.namespace))["metadata"]["uid"]
    owner = {"apiVersion": PLACEMENTS.api_version, "kind": "Placement", "name": another.name, "uid": uid}
    await scene.team.merge_patch(DECISIONS, ref.name, {"metadata": {"ownerReferences": [owner]}}, ref.namespace)
    requests = scene.count_requests("target:east")
    assert await binder.bind(message) is None
    assert await scene.binding(ref) is None
    assert requests == []


async def test_a_binding_that_this_worker_wrote_is_not_read_before_it_is_written_again(
    scene: Scene, binder: Binder
) -> None:
    ref = await placed(scene, "web")
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    message = scene.assigned(ref, await scene.decide(ref, "east"))
    requests = scene.count_requests(TEAM)
    assert await binder.bind(message) is not None
    assert not [each for each in requests if each.startswith("GET") and "placementbindings" in each]


async def test_a_binding_that_others_changed_since_it_was_remembered_is_read_again(
    scene: Scene, new_binder: Callable[..., Binder]
) -> None:
    ref = await placed(scene, "web")
    one, other = new_binder(), new_binder()
    await scene.insist(one, scene.assigned(ref, await scene.decide(ref, "east")))
    await scene.insist(other, scene.assigned(ref, await scene.decide(ref), remove=True))
    bound = await one.bind(scene.assigned(ref, await scene.decide(ref, "east")))
    assert bound is not None
    assert bound.phase == "Applied"
    assert await scene.managed() == {"Deployment web"}
