"""The dispatcher for MultiKueue, as it stands, beside a whole system on NATS; Kueue itself is played by the test."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.sandbox.wire.http import Request as HttpRequest
from services.sandbox.wire.http import Response
from shared.broker.nats.server import NatsServer
from shared.hub.resources import PLACEMENTS
from shared.kube.resources import CRDS
from tests.support import kueue, waiting, worlds
from tests.support.asking import write_users
from tests.support.process import Process, process
from tests.support.together import Together, together

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
until = partial(waiting.until, within=120.0, pause=0.1)
CLUSTERS = ["cluster-000", "cluster-001", "cluster-002"]


class Manager:
    """A hub with Kueue's kinds, where Moorage has four clusters, of which MultiKueue has three."""

    def __init__(self, system: Together, folder: Path, nats: str) -> None:
        self.system = system
        self.client = system.user
        self._folder = folder
        self._nats = nats

    @asynccontextmanager
    async def dispatching(self, *flags: str) -> AsyncIterator[Process]:
        env = {
            **os.environ,
            "MOORAGE_NATS_URL": self._nats,
            "MOORAGE_KUBECONFIG": str(self._folder / f"user-{worlds.USER}.kubeconfig"),
            "MOORAGE_WORKSPACE": worlds.TEAM,
            "MOORAGE_USER": worlds.USER,
        }
        async with process(["python", str(ROOT / "examples/multikueue/dispatcher.py"), *flags], env) as running:
            yield running

    async def status(self, name: str) -> dict[str, Any]:
        return (await self.client.get(kueue.WORKLOADS, name, worlds.NAMESPACE)).get("status") or {}

    async def nominated(self, name: str, count: int) -> list[str]:
        """The names, once there are so many."""

        async def look() -> list[str]:
            return list((await self.status(name)).get("nominatedClusterNames", ()))

        found: list[str] = await until(look, f"{name} has {count}", holds=lambda names: len(names) == count)
        return found


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[Manager]:
    users = write_users(tmp_path / "users.yaml", {"user": worlds.USER})
    async with (
        NatsServer(tmp_path / "nats") as nats,
        together(tmp_path / "system", worlds.world(4, cpu="4"), nats=nats.url, users_file=users) as system,
    ):
        for definition in kueue.CRDS:
            await system.user.create(CRDS, definition)
        for kind, obj in kueue.configuration(CLUSTERS):
            await system.user.create(kind, obj)
        yield Manager(system, tmp_path / "system", nats.url)


async def test_what_waits_is_nominated_where_it_fits_best_and_kueue_goes_on_from_there(manager: Manager) -> None:
    await manager.system.place("full", worlds.deployment("full", cpu="3"), targets={"names": ["cluster-001"]})
    await manager.system.reaches("full", "Ready")
    asked: set[tuple[str, str]] = set()
    tap(manager.system, asked)
    async with manager.dispatching("--nominate", "2") as dispatcher:
        fits = kueue.workload("fits", worlds.NAMESPACE, cpu="1", pods=2)
        await kueue.submit(manager.client, fits)
        assert set(await manager.nominated("fits", 2)) == {"cluster-000", "cluster-002"}  # 001 has no room for two
        status = await manager.status("fits")
        assert status["admission"] == {"clusterQueue": "all"}
        assert [each["type"] for each in status["conditions"]] == ["QuotaReserved"]
        assert [each["state"] for each in status["admissionChecks"]] == ["Pending"]

        chosen = kueue.admitted(fits, clusterName="cluster-002")  # a cluster has it: Kueue takes the names back
        await manager.client.apply(kueue.WORKLOADS, chosen, field_manager=kueue.KUEUE, force=True, subresource="status")
        assert "nominatedClusterNames" not in await manager.status("fits")

        await kueue.submit(manager.client, kueue.workload("huge", worlds.NAMESPACE, cpu="5"))
        await until(lambda: any(line.startswith("huge: ") for line in dispatcher.lines), "it says why there are none")
        assert "nominatedClusterNames" not in await manager.status("huge")
        await kueue.submit(manager.client, kueue.workload("small", worlds.NAMESPACE, cpu="1"))
        assert set(await manager.nominated("small", 2)) <= set(CLUSTERS)
        assert not (await manager.client.list(PLACEMENTS, worlds.NAMESPACE)).items[1:]  # nothing was placed for it
        dispatcher.terminate()
        assert await dispatcher.ends() == 0, dispatcher.output
    rules = yaml.safe_load((ROOT / "examples/multikueue/rights.yaml").read_text().split("---")[1])["rules"]
    assert asked == {
        ({"list": "GET", "patch": "PATCH"}[verb], resource)
        for rule in rules
        for resource in rule["resources"]
        for verb in rule["verbs"]
        if verb != "watch"
    }


async def test_further_ones_are_nominated_after_a_while_and_copies_do_not_disagree(manager: Manager) -> None:
    flags = ("--nominate", "1", "--round-seconds", "1")
    async with manager.dispatching(*flags), manager.dispatching(*flags):
        await kueue.submit(manager.client, kueue.workload("patient", worlds.NAMESPACE, cpu="1"))
        found = await manager.nominated("patient", 3)
        assert sorted(found) == CLUSTERS


async def test_one_that_cannot_be_looked_after_keeps_no_other_from_it(manager: Manager) -> None:
    nameless = {"controllerName": "kueue.x-k8s.io/multikueue"}  # no parameters
    head = {"apiVersion": kueue.CHECKS.api_version, "kind": kueue.CHECKS.kind, "metadata": {"name": "nameless"}}
    await manager.client.create(kueue.CHECKS, {**head, "spec": nameless})
    large = kueue.workload("large", worlds.NAMESPACE, cpu="1")
    (pods,) = large["spec"]["podSets"]
    pods["template"]["spec"]["containers"][0]["image"] = "i" * 1_100_000  # more than a message may hold
    await kueue.submit(manager.client, large)
    odd = kueue.workload("odd", worlds.NAMESPACE, cpu="1")
    checks = [{**kueue.admitted(odd)["status"]["admissionChecks"][0], "name": "nameless"}]
    await manager.client.create(kueue.WORKLOADS, odd)
    await manager.client.apply(
        kueue.WORKLOADS,
        kueue.admitted(odd, admissionChecks=checks),
        field_manager=kueue.KUEUE,
        force=True,
        subresource="status",
    )
    async with manager.dispatching("--nominate", "1") as dispatcher:
        await until(lambda: {"large:", "odd:"} <= {line.partition(" ")[0] for line in dispatcher.lines}, "both fail")
        await kueue.submit(manager.client, kueue.workload("fits", worlds.NAMESPACE, cpu="1"))
        await manager.nominated("fits", 1)


def tap(system: Together, asked: set[tuple[str, str]]) -> None:
    """Note what the dispatcher asks of the hub about Kueue's kinds."""
    handle = system.sandbox.handle

    async def tapped(request: HttpRequest) -> Response:
        if (
            request.headers.get("user-agent", "").startswith("moorage-multikueue")
            and f"/{kueue.GROUP}/" in request.path
        ):
            parts = request.path.partition(f"/{kueue.VERSION}/")[2].split("/")
            parts = parts[2:] if parts[0] == "namespaces" else parts
            asked.add((request.method, "/".join([parts[0], *parts[2:]])))
        return await handle(request)

    system.sandbox.handle = tapped  # type: ignore[method-assign]  # it is looked up for every request
