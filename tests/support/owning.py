"""Placements into target east by binding, step by step: as tests of what a target's owner decides need them."""

from typing import Any

import pytest

from services.binding.binder import Binder
from shared.broker.bus import Retry
from shared.hub.resources import PLACEMENTS
from shared.kube.apis import RestMapper
from shared.kube.resources import (
    DEPLOYMENTS,
    NAMESPACES,
)
from shared.model.refs import PlacementRef
from shared.pipeline.messages import Bound
from shared.process import audit
from tests.support.client import if_there
from tests.support.manifests import condition, deployment, obj, placement
from tests.support.scene import TEAM, Scene

TAKE_OVER = {"conflictPolicy": "TakeOver"}


async def place(scene: Scene, workspace: str = TEAM, namespace: str = "shop", **spec: Any) -> PlacementRef:
    """A Placement of what there is under the name web, in any namespace."""
    client = scene.hub.cluster(workspace)
    if await if_there(client.get(NAMESPACES, namespace)) is None:
        await client.create(NAMESPACES, obj("Namespace", name=namespace, namespace=""))
    if "manifests" in spec:
        spec = {"workload": [], **spec}
    else:
        await client.create(DEPLOYMENTS, deployment(namespace=namespace, replicas=2))
    await client.create(PLACEMENTS, placement(namespace=namespace, **spec))
    return PlacementRef(workspace=workspace, namespace=namespace, name="web")


async def apply(scene: Scene, binder: Binder, ref: PlacementRef) -> Bound | None:
    return await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))


async def remove(scene: Scene, binder: Binder, ref: PlacementRef) -> None:
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref), remove=True))


async def refused(scene: Scene, binder: Binder, ref: PlacementRef, reason: str) -> str:
    """Have a placement refused by binding, for this reason, with a line in the audit log; the sentence that says so."""
    before = audit.refusals.total()
    with pytest.raises(Retry) as retry:
        await binder.bind(scene.assigned(ref, await scene.decide(ref, "east")))
    assert retry.value.delay == 60.0
    binding = await scene.binding(ref)
    assert binding is not None
    assert binding["status"]["phase"] == "Failed"
    said = condition(binding["status"], "Applied")
    assert said["reason"] == reason
    assert audit.refusals.total() == before + 1
    return str(said["message"])


async def stands(scene: Scene, resource: Any = DEPLOYMENTS, namespace: str = "shop", name: str = "web") -> Any:
    return await if_there(scene.targets["east"].get(resource, name, namespace))


def content(obj: dict[str, Any]) -> tuple[Any, ...]:
    """Of a Deployment, what its owner wrote, and that it is the same one."""
    metadata = obj["metadata"]
    return obj["spec"], metadata.get("labels"), metadata.get("annotations") or {}, metadata["uid"]


async def kinds(scene: Scene, api_version: str, kind: str) -> list[str]:
    east = scene.targets["east"]
    page = await east.list(await RestMapper(east).resource(api_version, kind))
    return [f"{each['metadata'].get('namespace', '')}/{each['metadata']['name']}" for each in page.items]
