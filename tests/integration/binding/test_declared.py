"""Kinds that a team declares, as binding divides them and takes along what they refer to."""

import pytest

from services.binding.binder import Binder
from shared.api import PlacementSpec, decode_placement, decode_workloadkind
from shared.broker.bus import Retry
from shared.broker.table import Table
from shared.hub.declared import digest_of, kinds_of
from shared.hub.rendering import input_digest, source_hash
from shared.hub.resources import PLACEMENTS
from shared.kube.resources import CRDS, Resource
from shared.model.declared import DeclaredKind
from shared.model.refs import KindRef
from shared.pipeline.buckets import KINDS
from tests.support.manifests import CLONESET, cloneset, condition, definition, workload_kind
from tests.support.scene import TEAM, Scene

CLONESETS = Resource("apps.kruise.io", "v1alpha1", "clonesets", kind="CloneSet")
WORKLOAD = [{"apiVersion": CLONESET, "kind": "CloneSet", "name": "web"}]
NAME = "clonesets.apps.kruise.io"


async def declare(scene: Scene) -> DeclaredKind:
    """What the controller publishes when the team declares the kind."""
    found = DeclaredKind(workspace=TEAM, name=NAME, spec=decode_workloadkind(workload_kind()).spec)
    await Table(scene.store, KINDS).put(KindRef(workspace=TEAM, name=NAME).key, found)
    return found


async def clonesets(scene: Scene) -> str:
    """A CloneSet that names a ConfigMap; its hash as the controller has it."""
    for client in (scene.team, scene.targets["east"]):
        await client.create(CRDS, definition("apps.kruise.io", "CloneSet"))
    pod = {"volumes": [{"name": "v", "configMap": {"name": "settings"}}]}
    made = await scene.team.create(CLONESETS, cloneset(6, **pod))
    await scene.config()
    return source_hash(made)


async def test_a_declared_kind_is_applied_with_its_share_and_with_what_its_pods_name(
    scene: Scene, binder: Binder
) -> None:
    source = await clonesets(scene)
    kinds = kinds_of(TEAM, [await declare(scene)])
    spec = {"workload": WORKLOAD, "replicas": {"division": "Weighted"}}
    ref = await scene.place(**spec)
    placement = decode_placement(await scene.team.get(PLACEMENTS, "web", "shop"))
    decided = input_digest(placement.spec, [source], digest_of(kinds, {(CLONESET, "CloneSet")}))
    head = await scene.decide(ref, "east", replicas=3, digest=decided)
    bound = await scene.insist(binder, scene.assigned(ref, head))
    assert bound is not None
    assert bound.message == "2 objects are applied."
    found = await scene.in_target(CLONESETS)
    assert found is not None
    assert found["spec"]["replicas"] == 3
    assert await scene.managed() == {"ConfigMap settings"}


async def test_what_is_declared_otherwise_since_it_was_counted_waits_for_the_next_decision(
    scene: Scene, binder: Binder
) -> None:
    source = await clonesets(scene)
    ref = await scene.place(workload=WORKLOAD)
    decided = input_digest(PlacementSpec(), [source])
    head = await scene.decide(ref, "east", digest=decided)
    await declare(scene)
    assert await binder.bind(scene.assigned(ref, head)) is None
    assert await scene.in_target(CLONESETS) is None


async def test_what_nobody_declares_and_has_pods_is_not_applied(scene: Scene, binder: Binder) -> None:
    await clonesets(scene)
    ref = await scene.place(workload=WORKLOAD)
    head = await scene.decide(ref, "east")
    with pytest.raises(Retry, match="pods that nobody counts"):
        await binder.bind(scene.assigned(ref, head))
    binding = await scene.binding(ref)
    assert binding is not None
    assert condition(binding["status"], "Applied")["reason"] == "Unfit"
    assert await scene.in_target(CLONESETS) is None
