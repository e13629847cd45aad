"""A Job with a time to live that was applied by a worker that did not live to say so."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from services.binding.binder import Binder
from services.sandbox.wire.faults import Fault
from services.sandbox.wire.http import Request
from shared.broker.bus import Retry
from shared.kube.resources import Resource
from shared.kube.times import rfc3339
from shared.model.refs import PlacementRef
from tests.integration.binding.places import REAL, in_any_target
from tests.integration.binding.test_races import LEASE, kill_at
from tests.support.client import if_there
from tests.support.manifests import obj
from tests.support.scene import Scene
from tests.support.waiting import until

WITHIN = 60.0  # seconds until a cluster has deleted what has ended

JOBS = Resource("batch", "v1", "jobs", kind="Job")


def job(name: str, **spec: Any) -> dict[str, Any]:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "x"}]}}
    return obj("Job", "batch/v1", name=name, spec={"template": template, "ttlSecondsAfterFinished": 5, **spec})


async def placed(scene: Scene, name: str = "nightly") -> PlacementRef:
    await scene.team.create(JOBS, job(name))
    return await scene.place(name, workload=[{"apiVersion": "batch/v1", "kind": "Job", "name": name}])


async def expired(scene: Scene, name: str) -> bool:
    """Have the cluster delete a Job, as it does some time after its end; whether there was one."""
    found = await if_there(scene.targets["east"].get(JOBS, name, "shop"))
    if found is not None:
        await scene.targets["east"].delete(JOBS, name, "shop")
    return found is not None


async def recorded(scene: Scene, ref: PlacementRef) -> dict[str, Any]:
    binding = await scene.binding(ref)
    assert binding is not None
    (found,) = binding["status"]["objects"]
    assert isinstance(found, dict)
    return found


async def test_a_job_runs_once_at_most_whenever_the_worker_that_applies_it_dies(
    scene: Scene, new_binder: Callable[..., Binder]
) -> None:
    number, doubts = 0, 0
    while True:
        number += 1
        name = f"nightly-{number}"
        ref = await placed(scene, name)
        message = scene.assigned(ref, await scene.decide(ref, "east"))
        died = await kill_at(scene, new_binder(), message, number)
        scene.ahead += LEASE
        ran = await expired(scene, name)
        await scene.insist(new_binder(), message)
        runs_now = await if_there(scene.targets["east"].get(JOBS, name, "shop")) is not None
        found = await recorded(scene, ref)
        doubts += found.get("ended") == "Unseen"
        assert not (ran and runs_now)
        assert ran or runs_now or found.get("ended") == "Unseen"
        if not died:
            break
    assert number > 8
    assert doubts == 2  # at the write before, and at the request itself


async def test_a_job_that_is_still_there_after_its_worker_died_is_the_same_run(
    scene: Scene, new_binder: Callable[..., Binder]
) -> None:
    ref = await placed(scene)
    message = scene.assigned(ref, await scene.decide(ref, "east"))
    applied = asyncio.Event()
    await _killed_once_applied(scene, new_binder(), message, applied)
    before = await scene.in_target(JOBS, "nightly")
    scene.ahead += LEASE
    await scene.insist(new_binder(), message)
    after = await scene.in_target(JOBS, "nightly")
    assert before is not None
    assert after is not None
    assert before["metadata"]["uid"] == after["metadata"]["uid"] == (await recorded(scene, ref))["uid"]


async def _killed_once_applied(scene: Scene, binder: Binder, message: Any, applied: asyncio.Event) -> None:
    handle = scene.ready.sandbox.handle

    async def after(request: Request) -> None:
        if request.method == "PATCH" and "/jobs/" in request.path:
            applied.set()
            await asyncio.sleep(3600)  # until the connection is gone

    scene.tap(after=after)
    working = asyncio.create_task(binder.bind(message))
    async with asyncio.timeout(10):
        await applied.wait()
    working.cancel()
    await asyncio.wait([working])
    scene.ready.sandbox.handle = handle  # type: ignore[method-assign]


@in_any_target
async def test_a_job_that_its_cluster_deletes_after_its_end_is_not_run_again(
    scene: Scene, new_binder: Callable[..., Binder], request: pytest.FixtureRequest
) -> None:
    binder, east = new_binder(), scene.targets["east"]
    await scene.team.create(JOBS, job("nightly", ttlSecondsAfterFinished=1))
    ref = await scene.place("nightly", workload=[{"apiVersion": "batch/v1", "kind": "Job", "name": "nightly"}])
    await scene.insist(binder, scene.assigned(ref, await scene.decide(ref, "east")))
    if request.node.callspec.params["scene"] == REAL:  # whose own controller deletes it
        at = rfc3339(scene.clock() - 1, "seconds")
        ends = [
            {"type": each, "status": "True", "lastTransitionTime": at} for each in ("SuccessCriteriaMet", "Complete")
        ]
        status = {"startTime": at, "completionTime": at, "succeeded": 1, "conditions": ends}
        await east.merge_patch(JOBS, "nightly", {"status": status}, "shop", subresource="status")
        await until(lambda: scene.in_target(JOBS, "nightly"), holds=lambda found: found is None, within=WITHIN)
    else:
        await expired(scene, "nightly")
    await scene.team.merge_patch(JOBS, "nightly", {"metadata": {"labels": {"a": "b"}}}, "shop")
    made = scene.assigned(ref, await scene.decide(ref, "east"))
    await scene.insist(binder, made)
    assert (await recorded(scene, ref))["ended"] == "Unseen"
    assert await scene.in_target(JOBS, "nightly") is None


async def test_a_job_that_was_made_anew_in_the_workspace_runs_though_nobody_knows_of_the_former(
    scene: Scene, new_binder: Callable[..., Binder]
) -> None:
    ref = await placed(scene)
    message = scene.assigned(ref, await scene.decide(ref, "east"))
    await _killed_once_applied(scene, new_binder(), message, asyncio.Event())
    scene.ahead += LEASE
    before = await scene.in_target(JOBS, "nightly")
    await scene.team.delete(JOBS, "nightly", "shop")
    await scene.team.create(JOBS, job("nightly"))
    await scene.insist(new_binder(), scene.assigned(ref, await scene.decide(ref, "east")))
    after = await scene.in_target(JOBS, "nightly")
    assert before is not None
    assert after is not None
    assert before["metadata"]["uid"] != after["metadata"]["uid"]


async def test_a_job_that_the_target_refused_for_certain_runs_once_it_is_taken(scene: Scene, binder: Binder) -> None:
    ref = await placed(scene)
    message = scene.assigned(ref, await scene.decide(ref, "east"))
    refusing = scene.ready.sandbox.faults.add(Fault(kind="403", cluster="target:east", resource="jobs.*", verb="patch"))
    with pytest.raises(Retry):
        await binder.bind(message)
    binding = await scene.binding(ref)
    assert binding is not None
    assert not binding["status"].get("objects")
    scene.ready.sandbox.faults.remove(refusing)
    await scene.insist(binder, message)
    assert await scene.in_target(JOBS, "nightly") is not None


async def test_only_what_expires_takes_another_write(scene: Scene, binder: Binder) -> None:
    writes = []
    for name, ttl in (("once", 5), ("stays", None)):
        await scene.team.create(JOBS, job(name, ttlSecondsAfterFinished=ttl))
        ref = await scene.place(name, workload=[{"apiVersion": "batch/v1", "kind": "Job", "name": name}])
        message = scene.assigned(ref, await scene.decide(ref, "east"))
        requests = scene.count_requests("root:team")
        await scene.insist(binder, message)
        writes.append([each for each in requests if each.startswith("PUT") and "placementbindings" in each])
    assert len(writes[0]) == len(writes[1]) + 1
