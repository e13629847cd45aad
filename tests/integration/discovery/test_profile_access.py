"""SyncTargets of ClusterProfiles that name an access provider of the operator's: made, reached, kept, and let go."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.discovery.deriving import CONSUMER, CONSUMER_LABEL, KUBECONFIG_KEY, PROFILE, PROFILE_LABEL, SECRET
from shared.hub.names import DERIVED_LABEL
from shared.hub.resources import CLUSTER_PROFILES, SYNCTARGETS
from shared.kube.client import Client
from shared.kube.resources import CRDS, NAMESPACES, SECRETS
from tests.support import multicluster
from tests.support.client import if_there
from tests.support.discovery import Scene, opened
from tests.support.issuing import PROVIDER, Issuing
from tests.support.manifests import obj
from tests.support.waiting import until

ROOT = Path(__file__).parents[3]
PLATFORM, TEAM = "root:platform", "root:team"
FLEET = "fleet"
WITHIN = 90.0  # seconds


class Reached:
    """Workspaces with ClusterProfiles, a program, and discovery that may run it."""

    def __init__(self, scene: Scene, home: Path) -> None:
        self.scene = scene
        self.issuing = Issuing(home)
        found = yaml.safe_load(scene.kubeconfigs["target-east"].read_text())
        self.cluster: dict[str, Any] = found["clusters"][0]["cluster"]
        self.issuing.does(f'issue(token="{found["users"][0]["user"]["token"]}")')

    def client(self, workspace: str = PLATFORM) -> Client:
        return self.scene.hub.cluster(workspace)

    @asynccontextmanager
    async def derived(self, **settings: Any) -> AsyncIterator[None]:
        servers = self.cluster["server"].removeprefix("https://").partition("/clusters")[0] + "/clusters"
        path = self.issuing.home / "providers.json"
        path.write_bytes(self.issuing.listed(servers, profiles=(f"{PLATFORM}/{FLEET}",)))
        given = {"derive_from_namespace": FLEET, "profile_gone_seconds": 0.0, "access_providers": str(path)}
        async with self.scene.running(**{**given, **settings}):
            yield

    async def profile(self, name: str, workspace: str = PLATFORM, **labels: str) -> None:
        made = obj("ClusterProfile", CLUSTER_PROFILES.api_version, name=name, namespace=FLEET)
        made["metadata"]["labels"] = labels
        await self.client(workspace).create(CLUSTER_PROFILES, {**made, "spec": {"clusterManager": {"name": "tests"}}})

    async def says(self, name: str, workspace: str = PLATFORM, **cluster: Any) -> None:
        """Have the profile name the provider, with this of its cluster."""
        status = {"status": {"accessProviders": [{"name": PROVIDER, "cluster": cluster}]}}
        await self.client(workspace).merge_patch(CLUSTER_PROFILES, name, status, FLEET, subresource="status")

    async def target(self, name: str, workspace: str = PLATFORM) -> dict[str, Any] | None:
        return await if_there(self.client(workspace).get(SYNCTARGETS, name))

    async def made(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = await until(lambda: self.target(name), f"{name} is made", within=WITHIN)
        return found

    async def ready(self, name: str, *, ready: bool = True) -> None:
        async def look() -> bool:
            found = await self.scene.entry(PLATFORM, name)
            return found is not None and found.ready == ready

        await until(look, f"{name} is {'' if ready else 'not '}ready", within=WITHIN)

    async def by(self, way: str) -> None:
        """Wait until it refers to what leads there by this field alone, and is ready."""

        async def look() -> bool:
            found = await self.target("east")
            return found is not None and list(ways(found)) == [way]

        await until(look, f"it has {way}", within=WITHIN)
        await self.ready("east")

    async def access(self) -> None:
        """A Secret with the kubeconfig of the cluster, for Moorage."""
        made = obj("Secret", "v1", name="east-access", namespace=FLEET)
        made["metadata"]["labels"] = {CONSUMER_LABEL: CONSUMER, PROFILE_LABEL: "east"}
        content = base64.b64encode(self.scene.kubeconfigs["target-east"].read_bytes()).decode()
        await self.client().create(SECRETS, {**made, "data": {KUBECONFIG_KEY: content}})

    async def message(self, name: str) -> str:
        """Why it is not reached, once that is said."""

        async def look() -> str:
            found = (await self.target(name) or {}).get("status") or {}
            conditions = {each["type"]: each for each in found.get("conditions", ())}
            return str(conditions["Reachable"].get("message", "")) if "Reachable" in conditions else ""

        return str(await until(look, f"it is said why {name} is not reached", within=WITHIN))


def ways(found: dict[str, Any]) -> dict[str, Any]:
    """What of its spec leads there."""
    return {way: found["spec"][way] for way in (PROFILE, SECRET) if way in found["spec"]}


@pytest.fixture
async def reached(tmp_path: Path) -> AsyncIterator[Reached]:
    home = tmp_path / "issuing"
    home.mkdir()
    async with opened(tmp_path / "servers", tls=True) as scene:
        for workspace in (PLATFORM, TEAM):
            await scene.define(workspace)
            client = scene.hub.cluster(workspace)
            await client.create(CRDS, multicluster.PROFILE_CRD)
            await client.create(NAMESPACES, obj("Namespace", name=FLEET, namespace=""))
        yield Reached(scene, home)


async def test_a_profile_that_names_a_provider_becomes_a_target_that_refers_to_it(reached: Reached) -> None:
    await reached.profile("east", region="eu")
    async with reached.derived():
        await reached.says("east", **reached.cluster)
        found = await reached.made("east")
        assert ways(found) == {PROFILE: {"namespace": FLEET, "name": "east"}}
        assert found["metadata"]["labels"] == {"region": "eu", DERIVED_LABEL: "ClusterProfile"}
        await reached.ready("east")
        assert len(reached.issuing.runs) == 1
        await reached.client().delete(CLUSTER_PROFILES, "east", FLEET)

        async def gone() -> bool:
            return await reached.target("east") is None

        await until(gone, "it goes with its profile", within=WITHIN)


async def test_what_a_profile_says_of_access_is_followed_when_it_changes(reached: Reached) -> None:
    await reached.profile("east")
    await reached.says("east", **reached.cluster)
    async with reached.derived():
        await reached.made("east")
        await reached.ready("east")
        nothing = {"status": {"accessProviders": []}}
        await reached.client().merge_patch(CLUSTER_PROFILES, "east", nothing, FLEET, subresource="status")
        await reached.ready("east", ready=False)
        assert "names no access provider" in await reached.message("east")
        assert await reached.target("east") is not None
        await reached.says("east", **reached.cluster)
        await reached.ready("east")


async def test_a_profile_that_leads_elsewhere_says_so_and_runs_nothing(reached: Reached) -> None:
    await reached.profile("east")
    await reached.says("east", **{**reached.cluster, "server": "https://evil.example.org"})
    async with reached.derived():
        await reached.made("east")
        message = await reached.message("east")
    assert "may not go to the server" in message
    assert "evil" not in message
    assert reached.issuing.runs == []


async def test_profiles_of_a_workspace_that_the_operator_does_not_name_make_no_target(reached: Reached) -> None:
    for workspace in (TEAM, PLATFORM):
        await reached.profile("east", workspace)
        await reached.says("east", workspace, **reached.cluster)
    async with reached.derived():
        await reached.made("east")
        await reached.ready("east")
        assert await reached.target("east", TEAM) is None


async def test_a_tenant_that_writes_the_reference_itself_is_refused_and_were_it_not_is_let_in_nowhere(
    reached: Reached,
) -> None:
    kind = {"apiVersion": SYNCTARGETS.api_version, "kind": SYNCTARGETS.kind}
    forged = {**kind, "metadata": {"name": "forged"}, "spec": {PROFILE: {"namespace": FLEET, "name": "east"}}}
    await reached.profile("east")
    await reached.says("east", **reached.cluster)
    for workspace in (TEAM, PLATFORM):
        await reached.client(workspace).create(SYNCTARGETS, forged)  # by the administrator, whom admission lets
    async with reached.derived():
        assert "lets no access provider lead" in await reached.message("forged")
        await reached.ready("east")
    assert len(reached.issuing.runs) == 1


async def test_without_the_operators_file_what_profiles_say_of_access_is_not_followed(reached: Reached) -> None:
    await reached.profile("east")
    await reached.says("east", **reached.cluster)
    reached.scene.requests.clear()
    async with reached.derived(access_providers=""):
        asked = f"GET /clusters/{PLATFORM}{CLUSTER_PROFILES.path(FLEET)}"
        await until(lambda: reached.scene.requests[asked] > 0, "profiles are followed", within=WITHIN)
        await reached.scene.offer(PLATFORM, "west")
        await reached.ready("west")
        assert await reached.target("east") is None
    assert reached.issuing.runs == []


async def test_a_secret_goes_before_the_provider(reached: Reached) -> None:
    await reached.profile("east")
    await reached.says("east", **reached.cluster)
    async with reached.derived():
        await reached.by(PROFILE)
        await reached.access()
        await reached.by(SECRET)
