"""Rules 12 and 13: what is reserved is what is applied, and only what was decided is applied."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shared.broker.memory.bus import MemoryBus
from shared.broker.table import Table
from shared.hub.resources import PLACEMENTS, SYNCTARGETS
from shared.kube.resources import DEPLOYMENTS
from shared.model.refs import TargetRef
from shared.pipeline.buckets import INVENTORY
from shared.pipeline.messages import Assigned, encode
from shared.process import audit
from tests.support import worlds
from tests.support.manifests import condition, obj
from tests.support.together import JOBS, Together, together, until

CPU = "/spec/template/spec/containers/0/resources/requests/cpu"
ROOM = 4.0  # cores of each target


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[Together]:
    async with together(tmp_path, worlds.world(2, cpu=f"{ROOM:g}", delay=0.01)) as found:
        yield found


def patch(path: str, value: Any, op: str = "add", **labels: str) -> dict[str, Any]:
    """An override of one operation, for targets of these labels."""
    selector = {"targetSelector": {"matchLabels": labels}} if labels else {}
    return {**selector, "patches": [{"op": op, "path": path, "value": value}]}


def manifest(kind: str, api_version: str, spec: dict[str, Any], name: str = "web") -> dict[str, Any]:
    return obj(kind, api_version, name=name, namespace=worlds.NAMESPACE, spec=spec)


async def within_bounds(system: Together) -> None:
    """What runs in each target is reserved there, and is there."""
    for target in system.targets:
        running, reserved = await system.running(target), await system.reserved(target)
        assert running <= reserved + 1e-9 <= ROOM + 1e-6, f"{running} run, {reserved} are reserved in {target}"


async def refused(system: Together, name: str, because: str) -> None:
    """The Placement cannot be placed, says why, and nothing of it is in any target."""
    status = await system.reaches(name, "Unschedulable")
    assert because in condition(status, "Scheduled")["message"]
    for target in system.targets:
        assert await system.applied(name, target) is None
        assert await system.reserved(target) == 0


# Rule 12


@pytest.mark.parametrize(
    ("override", "runs"),
    [
        (patch("/spec/replicas", 3), 3.0),
        (patch(CPU, "2"), 2.0),
        (patch("/spec/template/spec/containers/-", {"name": "side", "resources": {"requests": {"cpu": "2"}}}), 3.0),
    ],
    ids=["replicas", "requests", "sidecar"],
)
async def test_a_tenant_whose_override_makes_more_of_its_workload_has_that_reserved(
    system: Together, override: dict[str, Any], runs: float
) -> None:
    await system.place("web", worlds.deployment("web", cpu="1"), overrides=[override])
    await system.reaches("web", "Ready")
    (target,) = await system.chosen("web")
    assert await system.running(target) == runs
    assert await system.reserved(target) == runs


@pytest.mark.parametrize(
    "override",
    [
        patch("/spec/replicas", 50),
        patch(CPU, "50"),
        patch("/spec/template/spec/containers/-", {"name": "side", "resources": {"requests": {"cpu": "50"}}}),
        patch("/spec/template/spec/initContainers", [{"name": "init", "resources": {"requests": {"cpu": "50"}}}]),
        patch("/spec/template/spec/overhead", {"cpu": "50"}),
        patch("/spec/template/spec/resources", {"requests": {"cpu": "50"}}),
    ],
    ids=["replicas", "requests", "sidecar", "init", "overhead", "pod"],
)
async def test_a_tenant_whose_override_asks_for_more_than_there_is_is_refused(
    system: Together, override: dict[str, Any]
) -> None:
    await system.place("web", worlds.deployment("web", cpu="1"), overrides=[override])
    await refused(system, "web", "insufficient cpu")


async def test_a_tenant_whose_override_holds_in_some_targets_is_counted_there_by_what_it_makes(
    system: Together,
) -> None:
    """It is placed where it fits, in the target that the override does not hold for."""
    await system.place("web", worlds.deployment("web", cpu="1"), overrides=[patch("/spec/replicas", 50, number="0")])
    await system.reaches("web", "Ready")
    assert await system.chosen("web") == ["cluster-001"]
    await within_bounds(system)


async def test_a_tenant_does_not_change_what_is_divided_by_an_override(system: Together) -> None:
    await system.place(
        "web",
        worlds.deployment("web", cpu="1", replicas=2),
        count=2,
        overrides=[patch("/spec/replicas", 50)],
        replicas={"division": "Weighted"},
    )
    await refused(system, "web", "which the Placement divides among targets")


async def test_a_tenant_whose_job_is_divided_runs_its_share_in_each_target(system: Together) -> None:
    template = worlds.deployment("web", cpu="1")["spec"]["template"]
    await system.user.create(JOBS, manifest("Job", "batch/v1", {"parallelism": 6, "template": template}))
    selector = {"apiVersion": "batch/v1", "kind": "Job", "name": "web"}
    await system.place("web", count=2, workload=[selector], replicas={"division": "Weighted"})
    await until(lambda: system.applied("web", "cluster-000", JOBS))
    await until(lambda: system.applied("web", "cluster-001", JOBS))
    assert [await system.running(target) for target in system.targets] == [3.0, 3.0]
    await within_bounds(system)


async def test_a_tenant_whose_job_has_to_succeed_so_often_does_not_divide_it(system: Together) -> None:
    template = worlds.deployment("web", cpu="1")["spec"]["template"]
    body = manifest("Job", "batch/v1", {"parallelism": 6, "completions": 6, "template": template})
    await system.place("web", workload=[], manifests=[body], replicas={"division": "Weighted"})
    await refused(system, "web", "spec.completions, which cannot be divided")


async def test_a_tenant_who_hides_a_workload_behind_a_manifest_of_its_name_is_refused(
    system: Together, caplog: pytest.LogCaptureFixture
) -> None:
    before = audit.refusals["NotCountable"]
    hidden = {**worlds.deployment("web", replicas=0), "metadata": {"name": "web"}}
    await system.place("web", worlds.deployment("web", cpu="1", replicas=50), manifests=[hidden])
    await refused(system, "web", "Deployment web is placed twice, with different content")
    assert audit.refusals["NotCountable"] > before
    said = [each for each in caplog.records if each.name == "moorage.audit"]
    assert {(each.__dict__["reason"], each.__dict__["requester"]) for each in said} == {("NotCountable", worlds.USER)}


async def test_a_tenant_who_brings_an_autoscaler_has_its_maximum_asked_for(system: Together) -> None:
    ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    scaling = manifest("HorizontalPodAutoscaler", "autoscaling/v2", {"scaleTargetRef": ref, "maxReplicas": 50})
    await system.place("web", worlds.deployment("web", cpu="1"), manifests=[scaling])
    await refused(system, "web", "2 insufficient cpu")
    asked = {each.kind: each.replicas for each in system.requested("web").workload}
    assert asked == {"Deployment": 50, "HorizontalPodAutoscaler": None}


@pytest.mark.parametrize(
    ("kind", "api_version", "spec"),
    [
        ("LimitRange", "v1", {"limits": [{"type": "Container", "defaultRequest": {"cpu": "50"}}]}),
        ("HorizontalPodAutoscaler", "autoscaling/v2", {"maxReplicas": 50, "scaleTargetRef": {"name": "theirs"}}),
        ("ScaledObject", "keda.sh/v1alpha1", {"scaleTargetRef": {"name": "web"}, "maxReplicaCount": 50}),
    ],
)
async def test_a_tenant_does_not_bring_what_makes_pods_greater_once_they_are_counted(
    system: Together, kind: str, api_version: str, spec: dict[str, Any]
) -> None:
    await system.place("web", worlds.deployment("web", cpu="1"), manifests=[manifest(kind, api_version, spec)])
    await refused(system, "web", kind)


async def test_two_tenants_whose_overrides_race_for_the_rest_get_no_more_than_there_is(system: Together) -> None:
    names = [f"web-{number}" for number in range(6)]
    grown = [patch(CPU, "1500m")]
    await asyncio.gather(*(system.place(each, worlds.deployment(each, cpu="1"), overrides=grown) for each in names))
    await until(lambda: _settled(system, names, ready=4), "four of six are Ready")
    await within_bounds(system)


async def _settled(system: Together, names: list[str], ready: int) -> bool:
    phases = [(await system.status(each)).get("phase") for each in names]
    return phases.count("Ready") == ready and phases.count("Unschedulable") == len(names) - ready


# Rule 13


async def grow(system: Together, replicas: int = 50) -> None:
    await system.edit(DEPLOYMENTS, "web", {"replicas": replicas})


async def vanish(system: Together, target: str) -> None:
    """Somebody deletes the Deployment in the target: that is drift."""
    await system.targets[target].delete(DEPLOYMENTS, "web", worlds.NAMESPACE)


async def awaits_decision(system: Together, name: str = "web") -> bool:
    found = condition((await system.binding(name)).get("status", {}), "Progressing")
    return found.get("reason") == "AwaitsDecision"


async def test_a_tenant_whose_workload_grows_after_the_decision_and_before_it_is_applied_runs_none_of_it(
    system: Together,
) -> None:
    system.before("POST", "/placementdecisions", lambda: grow(system))
    await system.place("web", worlds.deployment("web", cpu="1"))
    await refused_as_it_runs(system, "web", 0.0)
    assert await system.bindings() == []
    await grow(system, 2)
    await system.reaches("web", "Ready")
    await within_bounds(system)


async def refused_as_it_runs(system: Together, name: str, cores: float) -> None:
    """The Placement is refused for want of room, and what it had runs on: so many cores."""
    status = await system.reaches(name, "Unschedulable")
    assert "insufficient cpu" in condition(status, "Scheduled")["message"]
    (target,) = await system.chosen(name)
    found = await system.applied(name, target)
    assert (found["spec"]["replicas"] if found else 0) == cores
    await within_bounds(system)


async def test_a_tenant_whose_grown_workload_was_refused_does_not_get_it_by_drift(system: Together) -> None:
    """What ran is not known any more, so that it cannot be put back: it is left, and said so, until it is decided."""
    await system.place("web", worlds.deployment("web", cpu="1"))
    await system.reaches("web", "Ready")
    (target,) = await system.chosen("web")
    await grow(system)
    await refused_as_it_runs(system, "web", 1.0)
    await vanish(system, target)
    await until(lambda: awaits_decision(system))
    assert await system.applied("web", target) is None
    await grow(system, 2)
    await system.reaches("web", "Ready")
    assert await system.running(target) == 2.0
    await within_bounds(system)


async def test_drift_is_corrected_while_the_workload_is_what_was_decided(system: Together) -> None:
    await system.place("web", worlds.deployment("web", cpu="1"))
    await system.reaches("web", "Ready")
    (target,) = await system.chosen("web")
    await vanish(system, target)
    await until(lambda: system.applied("web", target))
    await grow(system)
    await refused_as_it_runs(system, "web", 1.0)
    await grow(system, 1)
    await system.reaches("web", "Ready")
    await vanish(system, target)
    await until(lambda: system.applied("web", target))
    await within_bounds(system)


async def test_a_tenant_who_swaps_a_manifest_for_a_greater_one_does_not_get_it_by_drift(system: Together) -> None:
    small, great = ({**worlds.deployment("web", cpu="1", replicas=count)} for count in (1, 50))
    await system.place("web", workload=[], manifests=[small])
    await system.reaches("web", "Ready")
    (target,) = await system.chosen("web")
    await system.edit(PLACEMENTS, "web", {"manifests": [great]})
    await refused_as_it_runs(system, "web", 1.0)
    await vanish(system, target)
    await until(lambda: awaits_decision(system))
    assert await system.applied("web", target) is None


async def test_a_tenant_who_adds_an_override_after_the_decision_does_not_get_it_by_drift(system: Together) -> None:
    await system.place("web", worlds.deployment("web", cpu="1"))
    await system.reaches("web", "Ready")
    (target,) = await system.chosen("web")
    await system.edit(PLACEMENTS, "web", {"overrides": [patch("/spec/replicas", 50)]})
    await refused_as_it_runs(system, "web", 1.0)
    await vanish(system, target)
    await until(lambda: awaits_decision(system))
    assert await system.applied("web", target) is None


async def test_a_provider_who_relabels_a_target_does_not_make_other_overrides_hold_there(system: Together) -> None:
    await system.place("web", worlds.deployment("web", cpu="1"), overrides=[patch("/spec/replicas", 50, size="big")])
    await system.reaches("web", "Ready")
    (target,) = await system.chosen("web")
    labels = {"metadata": {"labels": {"size": "big"}}}
    await system.admin.cluster(worlds.PLATFORM).merge_patch(SYNCTARGETS, target, labels)
    key = TargetRef(workspace=worlds.PLATFORM, name=target).key

    async def relabelled() -> bool:
        found = await Table(system.store, INVENTORY).get(key)
        return found is not None and found.value.labels.get("size") == "big"

    await until(relabelled)
    await vanish(system, target)
    found = await until(lambda: system.applied("web", target))
    assert found["spec"]["replicas"] == 1
    await within_bounds(system)


async def _set(event: asyncio.Event) -> None:
    event.set()


async def test_a_worker_that_forges_a_command_has_no_more_applied_than_was_decided(system: Together) -> None:
    await system.place("web", worlds.deployment("web", cpu="1", replicas=2), replicas={"division": "Weighted"})
    await system.reaches("web", "Ready")
    (target,) = await system.chosen("web")
    request = system.requested("web")
    forged = Assigned(
        placement=request.placement,
        head=request.head,
        target=f"{worlds.PLATFORM}/{target}",
        replicas=50,
        digest=request.input_digest,
    )
    looked = asyncio.Event()
    system.before("GET", "/placementdecisions/web", partial(_set, looked))
    await MemoryBus(system.broker).publish(forged.subject(), encode(forged), id="forged")
    await until(looked.is_set)
    await vanish(system, target)
    found = await until(lambda: system.applied("web", target))
    assert found["spec"]["replicas"] == 2
    assert await system.running(target) == 2.0
    await within_bounds(system)


async def test_a_tenant_whose_workload_changes_as_an_autoscaler_changes_it_ends_with_its_last_state(
    system: Together,
) -> None:
    await system.place("web", worlds.deployment("web", cpu="500m"))
    for round_ in range(40):
        await grow(system, 1 + round_ % 4)
        await asyncio.sleep(0)
    await grow(system, 3)
    await system.reaches("web", "Ready")

    async def replicas() -> int:
        (target,) = await system.chosen("web")
        found = await system.applied("web", target)
        return int(found["spec"]["replicas"]) if found else 0

    await until(replicas, holds=lambda found: found == 3)
    await system.reaches("web", "Ready")
    await within_bounds(system)


async def test_a_storm_of_edits_of_all_kinds_ends_ready_with_the_last(system: Together) -> None:
    await system.place("web", worlds.deployment("web", cpu="500m"))
    for number in range(30):
        await asyncio.gather(
            grow(system, 1 + number % 3),
            system.edit(PLACEMENTS, "web", {"overrides": [patch("/metadata/annotations", {"round": str(number)})]}),
        )

    async def last() -> bool:
        chosen = await system.chosen("web")
        found = await system.applied("web", chosen[0]) if chosen else None
        annotations = (found or {}).get("metadata", {}).get("annotations", {})
        return found is not None and (annotations.get("round"), found["spec"]["replicas"]) == ("29", 3)

    await until(last)
    await system.reaches("web", "Ready")
    await within_bounds(system)


async def test_two_tenants_whose_workloads_grow_for_the_rest_never_run_more_than_there_is(system: Together) -> None:
    names = [f"web-{number}" for number in range(6)]
    await asyncio.gather(*(system.place(each, worlds.deployment(each, cpu="1")) for each in names))
    for name in names:
        await system.reaches(name, "Ready")
    for replicas in (3, 2, 4, 2):
        await asyncio.gather(*(system.edit(DEPLOYMENTS, each, {"replicas": replicas}) for each in names))
        for target in system.targets:
            assert await system.running(target) <= ROOM
    await until(lambda: _answered(system, names))
    await within_bounds(system)


async def _answered(system: Together, names: list[str]) -> bool:
    phases = {(await system.status(each)).get("phase") for each in names}
    return phases <= {"Ready", "Unschedulable"} and "Ready" in phases
