"""Trouble in a target, on real API servers over HTTP (the sandbox): it shows on the binding and is tried again."""

import asyncio
from collections.abc import Callable

import pytest

from services.binding.binder import Binder
from services.sandbox.wire.http import Request
from shared.broker.bus import Retry
from shared.kube.resources import (
    CLUSTERROLEBINDINGS,
    CLUSTERROLES,
    DEPLOYMENTS,
    NAMESPACES,
    SECRETS,
)
from tests.support.manifests import condition
from tests.support.scene import TEAM, Scene


async def test_missing_rights_in_the_target_show_on_the_binding(
    scene: Scene, new_binder: Callable[..., Binder]
) -> None:
    await scene.workload()
    token = scene.ready.sandbox.add_user("nobody", cluster="target:east")
    await scene.use_token("east", token)
    ref = await scene.place()
    with pytest.raises(Retry) as retry:
        await new_binder(refused_retry_seconds=42.0).bind(scene.assigned(ref, await scene.decide(ref, "east")))
    assert retry.value.delay == 42.0
    binding = await scene.binding(ref)
    assert binding is not None
    assert condition(binding["status"], "PermissionGranted")["status"] == "False"
    assert binding["status"]["retries"] == 1


@pytest.mark.parametrize("prepared", [True, False])
async def test_without_the_right_to_make_namespaces_those_that_are_there_will_do(
    scene: Scene, binder: Binder, prepared: bool
) -> None:
    await scene.workload()
    east = scene.targets["east"]
    for name in ("shop", "moorage-system") if prepared else ():
        await scene.claim(TEAM, name)
    rules = [
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["*"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]},
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]},
    ]
    subject = {"kind": "User", "name": "modest", "apiGroup": CLUSTERROLES.group}
    meta, ref = {"name": "modest"}, {"apiGroup": CLUSTERROLES.group, "kind": "ClusterRole", "name": "modest"}
    await east.create(
        CLUSTERROLES,
        {"apiVersion": CLUSTERROLES.api_version, "kind": CLUSTERROLES.kind, "metadata": meta, "rules": rules},
    )
    binding = {"apiVersion": CLUSTERROLES.api_version, "kind": "ClusterRoleBinding", "metadata": meta}
    await east.create(CLUSTERROLEBINDINGS, {**binding, "roleRef": ref, "subjects": [subject]})
    await scene.use_token("east", scene.ready.sandbox.add_user("modest", cluster="target:east"))
    placement = await scene.place()
    message = scene.assigned(placement, await scene.decide(placement, "east"))
    if prepared:
        await scene.insist(binder, message)
        assert await scene.managed() == {"Deployment web"}
    else:
        with pytest.raises(Retry, match="cannot create resource"):
            await binder.bind(message)


@pytest.mark.parametrize(
    ("target", "spec", "reason", "said"),
    [
        ("bare", {}, "UnknownKind", "Deployment in apps is not served"),
        (
            "east",
            {"workload": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "ghost"}]},
            "WorkloadNotFound",
            "Deployment shop/ghost is not in workspace root:team",
        ),
        (
            "east",
            {"workload": [{"apiVersion": "shop.io/v1", "kind": "Basket", "name": "b"}]},
            "UnknownKind",
            "Basket in shop.io is not served",
        ),
        (
            "east",
            {"manifests": [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}}]},
            "Unfit",
            "Namespace kube-system is of a kind that is never placed",
        ),
        ("east", {"overrides": [{"patches": [{"op": "remove", "path": "/nowhere"}]}]}, "Unfit", "fits none of the 1"),
    ],
)
async def test_what_cannot_be_applied_says_why(
    scene: Scene, binder: Binder, target: str, spec: dict[str, object], reason: str, said: str
) -> None:
    await scene.workload()
    ref = await scene.place(**spec)
    with pytest.raises(Retry):
        await binder.bind(scene.assigned(ref, await scene.decide(ref, target), target))
    binding = await scene.binding(ref, target)
    assert binding is not None
    assert binding["status"]["phase"] == "Failed"
    assert condition(binding["status"], "Applied")["reason"] == reason
    assert said in condition(binding["status"], "Applied")["message"]


async def test_a_dead_target_is_left_alone_and_its_removal_waits(
    scene: Scene, new_binder: Callable[..., Binder]
) -> None:
    await scene.workload()
    binder = new_binder(breaker_failures=2, breaker_seconds=5.0)
    ref = await scene.place()
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    scene.ready.sandbox.set_available("east", False)
    removal = scene.assigned(ref, await scene.decide(ref), remove=True)
    for _ in range(2):
        with pytest.raises(Retry):
            await binder.bind(removal)
    requests = scene.count_requests("target:east")
    with pytest.raises(Retry) as retry:
        await binder.bind(removal)
    assert "left alone" in str(retry.value)
    assert requests == []
    binding = await scene.binding(ref)
    assert binding is not None
    assert binding["status"]["phase"] == "Removing"
    assert binding["metadata"]["deletionTimestamp"]
    scene.ready.sandbox.set_available("east", True)
    scene.ahead = 60.0
    bound = await scene.insist(binder, removal)
    assert bound is not None
    assert bound.phase == "Removed"
    assert await scene.managed() == set()


async def test_a_target_that_takes_too_long_is_tried_again(scene: Scene, new_binder: Callable[..., Binder]) -> None:
    await scene.workload()
    binder, slow = new_binder(apply_timeout_seconds=0.5, retry_initial_seconds=3.0), asyncio.Event()

    async def hang(request: Request) -> None:
        if request.method == "PATCH" and request.path.endswith("/deployments/web"):
            await slow.wait()

    scene.tap(before=hang)
    ref = await scene.place()
    message = scene.assigned(ref, await scene.decide(ref, "east"))
    with pytest.raises(Retry, match=r"did not take everything within 0.5 s") as retry:
        await binder.bind(message)
    assert retry.value.delay == 3.0
    binding = await scene.binding(ref)
    assert binding is not None
    assert (binding["status"]["phase"], condition(binding["status"], "Applied")["reason"]) == ("Applying", "Timeout")
    slow.set()
    bound = await scene.insist(new_binder(), message)
    assert bound is not None
    assert bound.phase == "Applied"


async def test_credentials_that_were_replaced_are_read_anew(scene: Scene, binder: Binder) -> None:
    await scene.workload()
    good = scene.ready.kubeconfigs["target-east"].read_bytes()
    await scene.use_token("east", "wrong")
    ref = await scene.place()
    message = scene.assigned(ref, await scene.decide(ref, "east"))
    with pytest.raises(Retry, match="Unauthorized"):
        await binder.bind(message)
    await scene.use_kubeconfig("east", good)
    await scene.insist(binder, message)
    assert await scene.managed() == {"Deployment web"}


async def test_a_target_without_credentials_says_so_and_not_which_secret_lacks_them(
    scene: Scene, binder: Binder
) -> None:
    await scene.workload()
    await scene.platform.delete(SECRETS, "east", "default")
    ref = await scene.place()
    with pytest.raises(Retry, match="root:platform/east: its kubeconfig cannot be used"):
        await binder.bind(scene.assigned(ref, await scene.decide(ref, "east")))


async def test_a_namespace_that_was_deleted_in_the_target_is_made_again(scene: Scene, binder: Binder) -> None:
    await scene.workload()
    ref = await scene.place()
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    await scene.targets["east"].delete(NAMESPACES, "shop")
    await scene.team.merge_patch(DEPLOYMENTS, "web", {"spec": {"replicas": 5}}, "shop")
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    found = await scene.in_target()
    assert found is not None
    assert found["spec"]["replicas"] == 5
