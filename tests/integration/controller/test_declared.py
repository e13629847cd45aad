"""Kinds that a team declares, as the controller counts them and tells the other workers."""

from shared.broker.table import Table
from shared.hub.resources import WORKLOAD_KINDS
from shared.kube.resources import CONFIGMAPS, CRDS, Resource
from shared.pipeline.buckets import KINDS
from shared.pipeline.messages import Requested
from tests.integration.controller.conftest import at_work
from tests.support.manifests import CLONESET, cloneset, definition, obj, workload_kind
from tests.support.scene import Scene

JOBS = Resource("batch", "v1", "jobs", kind="Job")
CLONESETS = Resource("apps.kruise.io", "v1alpha1", "clonesets", kind="CloneSet")
WORKLOAD = [{"apiVersion": CLONESET, "kind": "CloneSet", "name": "web"}]


async def test_a_kind_is_counted_as_soon_as_it_is_declared_and_refused_before_and_after(scene: Scene) -> None:
    await scene.team.create(CRDS, definition("apps.kruise.io", "CloneSet"))
    await scene.team.create(CLONESETS, cloneset(6))
    async with at_work(scene) as bus:
        await scene.place(workload=WORKLOAD, replicas={"division": "Weighted"})
        (said,) = await bus.says(Requested)
        assert isinstance(said, Requested)
        assert said.request.error.startswith("CloneSet web has pods that nobody counts")

        await scene.team.create(WORKLOAD_KINDS, workload_kind())
        said = (await bus.says(Requested, 2))[-1]
        assert isinstance(said, Requested)
        (counted,) = said.request.workload
        assert (said.request.error, said.request.cause.code) == ("", "WorkloadChanged")
        assert (counted.replicas, counted.requests["cpu"]) == (6, 1.0)
        assert [each.value.workspace for each in await Table(scene.store, KINDS).entries()] == ["root:team"]

        await scene.team.delete(WORKLOAD_KINDS, "clonesets.apps.kruise.io")
        said = (await bus.says(Requested, 3))[-1]
        assert isinstance(said, Requested)
        assert said.request.error.startswith("CloneSet web has pods that nobody counts")
        assert not await Table(scene.store, KINDS).entries()


async def test_what_pods_of_a_declared_kind_name_is_followed_also_where_that_was_declared_later(
    scene: Scene,
) -> None:
    await scene.team.create(CRDS, definition("apps.kruise.io", "CloneSet"))
    await scene.team.create(CLONESETS, cloneset(1, volumes=[{"name": "v", "configMap": {"name": "settings"}}]))
    await scene.config()
    async with at_work(scene) as bus:
        await scene.place(workload=WORKLOAD)
        await bus.says(Requested)
        await scene.team.create(WORKLOAD_KINDS, workload_kind())
        await bus.says(Requested, 2)
        await scene.team.merge_patch(CONFIGMAPS, "settings", {"data": {"key": "other"}}, "shop")
        said = (await bus.says(Requested, 3))[-1]
        assert isinstance(said, Requested)
        assert said.request.cause.code == "WorkloadChanged"


async def test_a_job_that_is_made_anew_has_a_round_though_it_says_the_same(scene: Scene) -> None:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "x"}]}}
    job = obj("Job", "batch/v1", name="nightly", spec={"template": template})
    await scene.team.create(JOBS, job)
    async with at_work(scene) as bus:
        await scene.place("nightly", workload=[{"apiVersion": "batch/v1", "kind": "Job", "name": "nightly"}])
        await bus.says(Requested)
        await scene.team.delete(JOBS, "nightly", "shop")
        await scene.team.create(JOBS, job)
        said = (await bus.says(Requested, 2))[-1]
        assert isinstance(said, Requested)
        assert said.request.cause.code == "WorkloadChanged"
