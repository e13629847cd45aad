"""Placements leave for others of higher priority that may have them leave: on separate processes, also while these are
killed; nobody leaves for nothing, no target is ever given away twice, and nobody learns of strangers.
"""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from services import PIPELINE
from shared.broker.nats.connection import connect
from shared.hub.resources import DECISIONS, PLACEMENTS
from shared.kube.resources import DEPLOYMENTS, EVENTS, NAMESPACES, Resource
from shared.process.settings import Settings
from tests.e2e.system import System, running_system, until
from tests.e2e.test_decide import decide
from tests.support import manifests, worlds

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(300)]

WITHIN = 120.0
ON = {"MOORAGE_PREEMPTION": "true", "MOORAGE_RESYNC_SECONDS": "8"}
URGENT = {"priority": 100, "preemptionPolicy": "PreemptLowerPriority"}
RBAC = "rbac.authorization.k8s.io"


async def let_preempt(system: System, *names: str) -> None:
    """The owner of the targets lets alice have others leave them: these, or all."""
    rule: dict[str, Any] = {"apiGroups": ["placement.moorage.io"], "resources": ["synctargets"], "verbs": ["preempt"]}
    if names:
        rule["resourceNames"] = list(names)
    meta = {"name": "preempt"}
    platform = system.admin.cluster(worlds.PLATFORM)
    await platform.create(
        Resource(RBAC, "v1", "clusterroles", False, "ClusterRole"),
        {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": meta, "rules": [rule]},
    )
    await platform.create(
        Resource(RBAC, "v1", "clusterrolebindings", False, "ClusterRoleBinding"),
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "preempt"},
            "subjects": [{"apiGroup": RBAC, "kind": "User", "name": worlds.USER}],
        },
    )


async def condition(system: System, name: str, type: str) -> dict[str, Any]:
    found = (await system.status(name)).get("conditions", ())
    return next((each for each in found if each["type"] == type), {})


async def ready(system: System, *names: str) -> None:
    for name in names:
        await until(lambda name=name: system.ready(name), f"{name} is Ready", within=WITHIN)


async def test_one_leaves_for_one_of_higher_priority_and_comes_back_when_there_is_room(tmp_path: Path) -> None:
    async with running_system(tmp_path, worlds.world(2, cpu="1"), env=ON) as system:
        await let_preempt(system)
        await system.place_app("old-a", cpu="700m")
        await system.place_app("old-b", cpu="700m", priority=5)
        await ready(system, "old-a", "old-b")
        (was,) = await system.chosen("old-a")
        await system.place_app("urgent", cpu="600m", **URGENT)
        await ready(system, "urgent")
        assert await system.chosen("urgent") == [was]
        assert await system.placed("old-a") == []
        assert await system.ready("old-b")
        told = await condition(system, "old-a", "Preempted")
        assert told["status"] == "True"
        assert told["message"] == f"It has to leave {was} for placement urgent, of higher priority."

        async def phase() -> str:
            return str((await system.status("old-a")).get("phase"))

        await until(phase, "old-a is Unschedulable", holds=lambda found: found == "Unschedulable")
        history = (await system.decision("old-a"))["history"][0]
        assert history["why"].startswith("Preempted: ")
        events = (await system.user.list(EVENTS, worlds.NAMESPACE)).items
        assert {"Preempted", "Preempting"} <= {each["reason"] for each in events}
        await system.user.delete(PLACEMENTS, "old-b", worlds.NAMESPACE)
        await ready(system, "old-a")
        await until(
            lambda: condition(system, "old-a", "Preempted"),
            "it is placed",
            holds=lambda found: found["status"] == "False",
        )


async def test_nobody_leaves_before_the_owner_lets_them_and_strangers_learn_no_names(tmp_path: Path) -> None:
    beside = "beside"
    async with running_system(tmp_path, worlds.world(1, cpu="1"), env=ON) as system:
        await system.user.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": beside}})
        await system.user.create(DEPLOYMENTS, worlds.deployment("secret", namespace=beside, cpu="700m"))
        spec = {"targets": {"count": {"min": 1}}}
        await system.user.create(PLACEMENTS, manifests.placement("secret", namespace=beside, **spec))

        async def secret() -> dict[str, Any]:
            return (await system.user.get(PLACEMENTS, "secret", beside)).get("status") or {}

        async def has(phase: str) -> None:
            await until(secret, f"it is {phase}", holds=lambda found: found.get("phase") == phase, within=WITHIN)

        await has("Ready")
        await system.place_app("urgent", cpu="600m", **URGENT)

        async def said() -> str:
            return str((await condition(system, "urgent", "Scheduled")).get("reason"))

        await until(said, "urgent is refused", holds=lambda found: found == "NoFeasibleTarget")
        await has("Ready")
        await let_preempt(system, "cluster-000")  # the owner does, of this one
        await ready(system, "urgent")
        assert await system.placed("secret") == []
        await has("Unschedulable")
        assert "for another placement, of higher priority." in str(await secret())
        assert "urgent" not in str(await secret())
        for kind in (PLACEMENTS, DECISIONS, EVENTS):
            assert "secret" not in str((await system.user.list(kind, worlds.NAMESPACE)).items)


async def test_what_would_be_decided_says_so_and_nobody_leaves_for_that(tmp_path: Path) -> None:
    async with running_system(tmp_path, worlds.world(1, cpu="1"), env=ON) as system:
        await let_preempt(system)
        await system.place_app("old", cpu="700m")
        await ready(system, "old")
        bus, _ = await connect("publisher", Settings(nats_url=system.place.nats))
        asked = {
            "placement": worlds.placement("urgent", **URGENT),
            "objects": [worlds.deployment("urgent", cpu="600m")],
        }

        async def answered() -> str:
            return str(((await decide(bus, asked)).get("refusal") or {}).get("message"))

        await until(answered, "it would preempt", holds=lambda found: "1 placement of lower priority has to" in found)
        assert len(await system.reservations()) == 1
        assert await system.ready("old")
        await bus.close()


def cores(deployment: dict[str, Any]) -> float:
    requests = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]
    return float(deployment["spec"]["replicas"]) * float(str(requests["cpu"]).removesuffix("m")) / 1000


@pytest.mark.long
async def test_no_target_is_overcommitted_and_nobody_leaves_in_vain_while_each_worker_is_killed(tmp_path: Path) -> None:
    async with running_system(tmp_path, worlds.world(3, cpu="1"), env=ON) as system:
        await let_preempt(system)
        old = [f"old-{number}" for number in range(3)]
        for name in old:
            await system.place_app(name, cpu="700m")
        await ready(system, *old)
        most = 0.0

        async def watch() -> None:
            nonlocal most
            while True:
                for client in system.targets.values():
                    found = (await client.list(DEPLOYMENTS, worlds.NAMESPACE)).items
                    most = max(most, sum(map(cores, found)))
                await asyncio.sleep(0.1)

        watching = asyncio.create_task(watch())
        for number, victim in enumerate((*PIPELINE, *PIPELINE)):
            if number % len(PIPELINE) == 0:
                await system.place_app(f"urgent-{number // len(PIPELINE)}", cpu="600m", **URGENT)
            before = system.running.children[victim].pid
            assert before
            os.kill(before, signal.SIGKILL)
            await until(
                lambda victim=victim: system.running.children[victim].pid,
                f"{victim} is back",
                holds=lambda pid, before=before: pid not in (None, before),
            )
        await ready(system, "urgent-0", "urgent-1")

        async def running() -> list[bool]:
            return sorted([await system.ready(name) for name in old])

        await until(running, "one of the others still runs", holds=lambda found: found == [False, False, True])
        left = [name for name in await system.reservations() if "nomination" in name]
        assert not left
        watching.cancel()
        assert most <= 1.0
