"""A whole application, as a chart renders it: placed, changed, moved and removed; on the sandbox, and on real clusters
whose controllers run. The hub is the sandbox, so that the workspace's own objects show how they are.
"""

import asyncio
import base64
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.cli.support.application import application
from shared.hub.resources import PLACEMENTS, SYNCTARGETS
from shared.kube.apis import RestMapper
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.resources import CONFIGMAPS, CRDS, DEPLOYMENTS, NAMESPACES, SECRETS, Resource
from tests.support import apiserver, kubelets, servers, worlds
from tests.support.client import if_there
from tests.support.together import STATEFUL_SETS, Together, together, until

pytestmark = pytest.mark.timeout(500)

WITHIN = 120.0  # seconds: what goes waits for its pods, and a definition for what it defines
EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ("east", "west")
CONTROLLERS = (
    "cronjob-controller", "deployment-controller", "disruption-controller", apiserver.GARBAGE, "job-controller",
    "namespace-controller", "replicaset-controller", "statefulset-controller",
)  # fmt: skip
CRON_JOBS = Resource("batch", "v1", "cronjobs", kind="CronJob")
SYSTEM = "default"
CONSENT = {"allowedKinds": [{"group": CRDS.group, "kind": CRDS.kind}]}
ACCOUNTS = Resource("ledger.example.com", "v1", "accounts", kind="Account")


def documents(file: str) -> list[dict[str, Any]]:
    """The objects of an example, in the namespace of the tests."""
    text = (EXAMPLES / file).read_text().replace("namespace: ledger", f"namespace: {worlds.NAMESPACE}")
    return list(yaml.safe_load_all(text))


def world() -> dict[str, Any]:
    made = worlds.world(len(NAMES), cpu="8", delay=0.01)
    for name, target in zip(NAMES, made["targets"], strict=True):
        target["name"] = name
    return made


@pytest.fixture
async def on_the_sandbox(tmp_path: Path) -> AsyncIterator[Together]:
    async with together(tmp_path, world()) as found:
        for name in NAMES:
            await found.admin.cluster(worlds.PLATFORM).merge_patch(SYNCTARGETS, name, {"spec": CONSENT})
        yield found


@pytest.fixture
async def on_real_clusters(tmp_path: Path) -> AsyncIterator[Together]:
    binaries = servers.find()
    if binaries is None:
        reason = f"no kube-apiserver in {servers.folder()}: make servers builds it"
        pytest.fail(reason) if os.environ.get("MOORAGE_REQUIRE_SERVERS") else pytest.skip(reason)
    async with AsyncExitStack() as stack:
        running = stack.enter_context(apiserver.servers(binaries, tmp_path / "servers"))
        system = await stack.enter_async_context(
            together(tmp_path, {**world(), "targets": []}, authorization="AllowAll")
        )
        for name in NAMES:
            server = await asyncio.to_thread(running.apiserver, name, controllers=CONTROLLERS)
            kubeconfig = server.kubeconfigs[apiserver.ADMIN]
            client = await stack.enter_async_context(Client(load_kubeconfig(kubeconfig), timeout=20))
            await kubelets.join(client, f"{name}-0", cpu="8", memory="32Gi", pods="110")
            await stack.enter_async_context(kubelets.running(client))
            system.targets[name] = client
            await offer(system, name, kubeconfig.read_bytes())
        yield system


async def offer(system: Together, name: str, kubeconfig: bytes) -> None:
    """A SyncTarget of a cluster in the platform's workspace."""
    platform = system.admin.cluster(worlds.PLATFORM)
    secret = {"name": f"target-{name}", "namespace": SYSTEM}
    data = {"kubeconfig": base64.b64encode(kubeconfig).decode()}
    if await if_there(platform.get(NAMESPACES, SYSTEM)) is None:
        await platform.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
    await platform.create(SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": secret, "data": data})
    target = {
        "apiVersion": SYNCTARGETS.api_version,
        "kind": SYNCTARGETS.kind,
        "metadata": {"name": name},
        "spec": {
            "kubeconfigSecretRef": {**secret, "key": "kubeconfig"},
            "allowedWorkspaces": {"paths": [worlds.TEAM]},
            **CONSENT,
        },
    }
    await platform.create(SYNCTARGETS, target)


class Application:
    """The ledger in the workspace, and where it is."""

    def __init__(self, system: Together) -> None:
        self.system = system
        self.objects = documents("ledger/app.yaml")
        self.mapper = RestMapper(system.user)

    async def resource(self, obj: dict[str, Any]) -> Resource:
        return await self.mapper.resource(obj["apiVersion"], obj["kind"])

    async def place(self) -> None:
        for obj in self.objects:
            await self.system.user.apply(await self.resource(obj), obj, field_manager="kubectl")
            if obj["kind"] == CRDS.kind:
                await until(lambda: if_there(self.system.user.list(ACCOUNTS)), "the workspace serves accounts")
                self.mapper = RestMapper(self.system.user)
        (placement,) = documents("ledger/placement.yaml")
        await self.system.user.create(PLACEMENTS, placement)

    async def found_in(self, target: str) -> set[tuple[str, str]]:
        """Kinds and names of its objects that are in a target."""
        found = set()
        for obj in self.objects:
            name = obj["metadata"]["name"]
            if await self.system.applied(name, target, await self.resource(obj)) is not None:
                found.add((obj["kind"], name))
        return found

    async def is_in(self, *targets: str) -> None:
        """Wait until all of it is in these targets, and nothing of it in others."""
        whole = {(obj["kind"], obj["metadata"]["name"]) for obj in self.objects}
        for name in NAMES:
            wanted = whole if name in targets else set()

            async def look(name: str = name) -> set[tuple[str, str]]:
                return await self.found_in(name)

            def holds(found: set[tuple[str, str]], wanted: set[tuple[str, str]] = wanted) -> bool:
                return found == wanted

            await until(look, f"the application in {name}", holds=holds, within=WITHIN)

    async def shows(self, resource: Resource, name: str, **numbers: int) -> dict[str, Any]:
        """The status of an object in the workspace, once it shows these numbers for its newest generation."""

        async def look() -> dict[str, Any]:
            found = await self.system.user.get(resource, name, worlds.NAMESPACE)
            status = found.get("status") or {}
            current = status.get("observedGeneration") == found["metadata"]["generation"]
            return {**status, "current": current}

        def holds(status: dict[str, Any]) -> bool:
            return bool(status["current"]) and numbers.items() <= status.items()

        status: dict[str, Any] = await until(look, f"{name} shows {numbers}", holds=holds)
        return status


async def lives(system: Together) -> None:
    """The life of the application: placed in both clusters, changed, moved into one, removed."""
    application = Application(system)
    await application.place()
    await system.reaches("ledger", "Ready")
    await application.is_in(*NAMES)
    status = await application.shows(STATEFUL_SETS, "ledger-db", readyReplicas=4, updatedReplicas=4)
    assert status["currentRevision"] == status["updateRevision"]
    await application.shows(DEPLOYMENTS, "ledger", availableReplicas=2)
    for target in NAMES:
        definition = await system.applied("accounts.ledger.example.com", target, CRDS)
        account = await system.applied("petty-cash", target, ACCOUNTS)
        assert definition is not None
        assert account is not None
        assert definition["metadata"]["creationTimestamp"] <= account["metadata"]["creationTimestamp"]
        assert account["spec"]["owner"] == "office"
        claims = await system.applied("ledger-db", target, STATEFUL_SETS)
        assert claims is not None
        assert claims["spec"]["volumeClaimTemplates"][0]["metadata"]["name"] == "data"
    job = next(each for each in application.objects if each["kind"] == "Job")

    async def complete() -> bool:
        found = await system.user.get(await application.resource(job), "ledger-schema", worlds.NAMESPACE)
        conditions = (found.get("status") or {}).get("conditions") or []
        return any(each["type"] == "Complete" and each["status"] == "True" for each in conditions)

    await until(complete, "the Job is complete in both clusters, and the workspace says so")

    await _change(system)
    await system.reaches("ledger", "Ready")
    await application.shows(DEPLOYMENTS, "ledger", availableReplicas=2, updatedReplicas=2)
    await application.shows(STATEFUL_SETS, "ledger-db", readyReplicas=6)
    for target in NAMES:
        await _is_changed(system, target)

    await system.edit(PLACEMENTS, "ledger", {"targets": {"count": {"min": 1, "max": 1}, "names": ["west"]}})
    await application.is_in("west")
    await system.reaches("ledger", "Ready")
    await application.shows(STATEFUL_SETS, "ledger-db", readyReplicas=3)

    await system.user.delete(PLACEMENTS, "ledger", worlds.NAMESPACE)
    await application.is_in()

    async def silent() -> bool:
        found = await system.user.get(DEPLOYMENTS, "ledger", worlds.NAMESPACE)
        return not found.get("status")

    await until(silent, "the workspace's Deployment shows nothing any more")


async def _change(system: Together) -> None:
    image = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "ledger:2"}]
    path = DEPLOYMENTS.path(worlds.NAMESPACE, "ledger")
    await system.user.request("PATCH", path, body=image, content_type="application/json-patch+json")
    await system.edit(STATEFUL_SETS, "ledger-db", {"replicas": 3})
    await system.edit(CRON_JOBS, "ledger-closing", {"schedule": "0 3 * * *"})
    await system.user.merge_patch(CONFIGMAPS, "ledger", {"data": {"currency": "CHF"}}, worlds.NAMESPACE)


async def _is_changed(system: Together, target: str) -> None:
    deployment = await system.applied("ledger", target)
    cron_job = await system.applied("ledger-closing", target, CRON_JOBS)
    settings = await system.applied("ledger", target, CONFIGMAPS)
    assert deployment is not None
    assert cron_job is not None
    assert settings is not None
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "ledger:2"
    assert cron_job["spec"]["schedule"] == "0 3 * * *"
    assert settings["data"]["currency"] == "CHF"


async def test_an_application_is_placed_changed_moved_and_removed(on_the_sandbox: Together) -> None:
    await lives(on_the_sandbox)


@pytest.mark.servers
@pytest.mark.xdist_group("servers-application")
async def test_an_application_is_placed_changed_moved_and_removed_on_real_clusters(on_real_clusters: Together) -> None:
    await lives(on_real_clusters)


async def test_objects_without_a_placement_are_placed_whole_as_one_application(on_the_sandbox: Together) -> None:
    system = on_the_sandbox
    placement, selected = application(documents("ledger/app.yaml"), "ledger", worlds.NAMESPACE, {}, len(NAMES))
    mapper = RestMapper(system.user)
    for each in selected:
        await system.user.apply(await mapper.resource(each["apiVersion"], each["kind"]), each, field_manager="kubectl")
    await system.user.create(PLACEMENTS, placement)
    await system.reaches("ledger", "Ready")
    for target in NAMES:
        for name, resource in (("petty-cash", ACCOUNTS), ("ledger-db", STATEFUL_SETS), ("ledger", DEPLOYMENTS)):
            assert await system.applied(name, target, resource) is not None
    names = [each["metadata"]["name"] for each in (await system.user.list(CRDS)).items]
    assert "accounts.ledger.example.com" not in names
