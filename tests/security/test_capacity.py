"""Rules 12 and 13: what is reserved is what is applied, and only what was decided is applied."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

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


async def test_a_tenant_who_hides_a_workload_behind_a_manifest_of_its_name_is_refused(system: Together) -> None:
    hidden = {**worlds.deployment("web", replicas=0), "metadata": {"name": "web"}}
    await system.place("web", worlds.deployment("web", cpu="1", replicas=50), manifests=[hidden])
    await refused(system, "web", "Deployment web is placed twice, with different content")


async def test_a_tenant_who_brings_an_autoscaler_has_its_maximum_asked_for(system: Together) -> None:
    ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    scaling = manifest("HorizontalPodAutoscaler", "autoscaling/v2", {"scaleTargetRef": ref, "maxReplicas": 50})
    await system.place("web", worlds.deployment("web", cpu="1"), manifests=[scaling])
    await refused(system, "web", "HorizontalPodAutoscaler")  # the targets of the sandbox do not serve it
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
