"""What is remembered of a target, when credentials or the cluster behind its name are others than before."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.sandbox.access import users
from services.sandbox.errors import ApiError
from services.sandbox.wire.http import Request, Response, refusal
from services.sandbox.world import targets
from shared.broker.table import Table
from shared.broker.tokens import join
from shared.hub.names import SYSTEM_NAMESPACE
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.resources import CRDS, DEPLOYMENTS, SECRETS
from shared.model.target import Target
from shared.pipeline.buckets import INVENTORY
from tests.support import worlds
from tests.support.client import if_there
from tests.support.manifests import definition
from tests.support.together import Together, together, until

NAME, SPARE = "cluster-000", "spare"
SLOW = {"probe_interval_seconds": 3600.0, "api_interval_seconds": 3600.0, "capacity_interval_seconds": 3600.0}
"""Nothing is found out by looking again some time: it has to be heard of."""


class Renewed:
    """The system, one target of which the kubeconfig is replaced, and who asked which cluster."""

    def __init__(self, system: Together, folder: Path) -> None:
        self.system = system
        self.kubeconfig: dict[str, Any] = yaml.safe_load((folder / f"target-{NAME}.kubeconfig").read_text())
        self.revoked: set[str] = set()
        self.asked: list[tuple[str, str, int]] = []  # cluster, who asked, and the status of each answer
        handle = system.sandbox.handle

        async def noted(request: Request) -> Response:
            cluster = request.path.removeprefix("/clusters/target:").partition("/")[0]
            token = request.headers.get("authorization", "").removeprefix("Bearer ")
            refused = token in self.revoked
            response = refusal(ApiError(401, "Unauthorized", "no")) if refused else await handle(request)
            if request.path.startswith("/clusters/target:"):
                self.asked.append((cluster, request.headers.get("user-agent", ""), response.status))
            return response

        system.sandbox.handle = noted  # type: ignore[method-assign]  # it is looked up for every request

    def by_token(self, token: str, cluster: str = NAME) -> dict[str, Any]:
        """The kubeconfig with another token, of another cluster if that is to be."""
        found: dict[str, Any] = yaml.safe_load(yaml.safe_dump(self.kubeconfig))
        found["users"][0]["user"]["token"] = token
        found["clusters"][0]["cluster"]["server"] = found["clusters"][0]["cluster"]["server"].replace(NAME, cluster)
        return found

    def rotated(self) -> dict[str, Any]:
        """The kubeconfig with a new token; the old one is good yet."""
        return self.by_token(self.system.sandbox.add_user("admin", (users.ADMINS,), cluster=f"target:{NAME}"))

    def another(self, **room: str) -> dict[str, Any]:
        """The kubeconfig of another cluster, which is made."""
        capacity = {"cpu": "8", "memory": "64Gi", "pods": "110", **room}
        made = targets.Target(name=SPARE, capacity=capacity, nodes=2, labels={"kind": "spare"})
        return self.by_token(targets.add(self.system.sandbox, made), SPARE)

    async def put(self, kubeconfig: dict[str, Any]) -> None:
        """Write the Secret that the SyncTarget names."""
        data = {"kubeconfig": base64.b64encode(yaml.safe_dump(kubeconfig).encode()).decode()}
        platform = self.system.admin.cluster(worlds.PLATFORM)
        await platform.merge_patch(SECRETS, f"target-{NAME}", {"data": data}, SYSTEM_NAMESPACE)

    async def entry(self) -> Target:
        found = await Table(self.system.store, INVENTORY).get(join(worlds.PLATFORM, NAME))
        assert found is not None
        target: Target = found.value
        return target

    async def taken_up(self, before: Target) -> Target:
        """The entry, once the kubeconfig that it is by is another one."""

        async def look() -> Target | None:
            found = await self.entry()
            return found if found.kubeconfig != before.kubeconfig else None

        found: Target = await until(look, "the new kubeconfig is in use")
        return found

    def workers(self, since: int, cluster: str = NAME) -> set[str]:
        """Which workers asked a cluster anything since."""
        return {who.removeprefix("moorage-") for where, who, _ in self.asked[since:] if where == cluster}


@pytest.fixture
async def renewed(tmp_path: Path) -> AsyncIterator[Renewed]:
    async with together(tmp_path, worlds.world(1, cpu="100", delay=0.01), **SLOW) as system:
        yield Renewed(system, tmp_path)


async def test_a_token_that_is_rotated_while_a_burst_runs_is_taken_up_by_all_workers_and_nobody_is_refused(
    renewed: Renewed,
) -> None:
    system, before = renewed.system, await renewed.entry()
    for number in range(6):
        await system.place(f"w{number}", worlds.deployment(f"w{number}"))
    since = len(renewed.asked)
    await renewed.put(renewed.rotated())
    after = await renewed.taken_up(before)
    for number in range(6):
        await system.reaches(f"w{number}", "Ready")
    renewed.revoked.add(renewed.kubeconfig["users"][0]["user"]["token"])
    await system.place("later", worlds.deployment("later"))
    await system.reaches("later", "Ready")
    assert {status for _, _, status in renewed.asked[since:]} & {401, 403} == set()
    assert renewed.workers(since) >= {"discovery", "binding", "status"}
    assert [each["status"].get("retries", 0) for each in await system.bindings()] == [0] * 7
    assert (after.cluster, after.ready, after.apis) == (before.cluster, True, before.apis)


async def test_what_else_changes_of_a_secret_makes_no_new_connection(renewed: Renewed) -> None:
    before = await renewed.entry()
    since = len(renewed.asked)
    await renewed.put({**renewed.kubeconfig, "preferences": {"colors": True}})
    await renewed.system.place("web", worlds.deployment("web"))
    await renewed.system.reaches("web", "Ready")
    after = await renewed.entry()
    assert (after.cluster, after.ready) == (before.cluster, True)
    assert {status for _, _, status in renewed.asked[since:]} & {401, 403, 503} == set()


async def test_a_kubeconfig_that_is_none_is_told_and_the_old_one_works_on(renewed: Renewed) -> None:
    system, before = renewed.system, await renewed.entry()
    await system.place("web", worlds.deployment("web"))
    await system.reaches("web", "Ready")
    await renewed.put({"no": "kubeconfig"})

    async def told() -> bool:
        return (await renewed.entry()).reason == "without a usable kubeconfig"

    await until(told, "the Secret is told to be of no use")
    assert (await renewed.entry()).kubeconfig == before.kubeconfig
    await system.targets[NAME].delete(DEPLOYMENTS, "web", worlds.NAMESPACE)
    await until(lambda: system.applied("web", NAME), "what runs there is still seen to")


async def test_all_that_is_remembered_of_a_target_is_forgotten_when_another_cluster_stands_behind_its_name(
    renewed: Renewed,
) -> None:
    """Of each worker: clients, kinds and their versions, namespaces, sets and what is in them, followers, health."""
    system, before = renewed.system, await renewed.entry()
    await system.targets[NAME].create(CRDS, definition("old.example.com", "Widget"))

    async def has_widgets() -> bool:
        return any(each.kind == "Widget" for each in (await renewed.entry()).apis)

    await until(has_widgets, "its kinds are known")
    for number in range(3):
        await system.place(f"w{number}", worlds.deployment(f"w{number}"))
    for number in range(3):
        await system.reaches(f"w{number}", "Ready")
    reserved = await system.reserved(NAME)

    since = len(renewed.asked)
    kubeconfig = renewed.another()
    await renewed.put(kubeconfig)
    after = await renewed.taken_up(before)
    text = yaml.safe_dump(kubeconfig)
    async with Client(load_kubeconfig(text)) as spare:
        for number in range(3):
            found = await until(
                lambda name=f"w{number}": if_there(spare.get(DEPLOYMENTS, name, worlds.NAMESPACE)), "anew"
            )
            assert found["metadata"]["name"] == f"w{number}"
    for number in range(3):
        await system.reaches(f"w{number}", "Ready")

    assert after.cluster not in ("", before.cluster)
    assert not any(each.kind == "Widget" for each in after.apis)  # discovery: kinds
    assert (after.nodes, after.allocatable["cpu"]) == (2, 8.0)  # capacity
    assert after.ready
    assert renewed.workers(since, SPARE) >= {"discovery", "binding", "status"}  # clients
    uids = {each["uid"] for binding in await system.bindings() for each in binding["status"]["objects"]}
    async with Client(load_kubeconfig(text)) as spare:
        there = {each["metadata"]["uid"] for each in (await spare.list(DEPLOYMENTS, worlds.NAMESPACE)).items}
    assert uids == there  # binding: what is in the set; status: its followers
    assert await system.reserved(NAME) == reserved
