"""Access providers of ClusterProfiles: a real program, real TLS, and everybody who would have its token."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from services.sandbox.run import Ready, serve
from services.sandbox.wire.http import Request as HttpRequest
from services.sandbox.wire.http import Response
from services.sandbox.world.world import Target as SandboxTarget
from services.sandbox.world.world import World
from shared.hub.access_providers import parsed
from shared.hub.hub import Hub
from shared.hub.resources import CLUSTER_PROFILES
from shared.hub.targets import TargetClients
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.auth.program import INFO
from shared.kube.client import Client
from shared.kube.errors import ApiError, ConfigError, KubeError, NotAllowed, Unreachable
from shared.kube.resources import CRDS, NAMESPACES
from shared.model.target import KubeconfigRef, Target
from tests.support import multicluster
from tests.support.client import if_there
from tests.support.issuing import PROVIDER, Issuing
from tests.support.perimeter import BESIDE_US
from tests.support.waiting import until

FLEET = "fleet"
EAST = Target(
    workspace="", name="east", uid="u", kubeconfig=KubeconfigRef(namespace=FLEET, name="east", key="", profile=True)
)
WITHIN = 60.0  # seconds


class Cluster:
    """A server of clusters that notes who is let in by what."""

    def __init__(self, ready: Ready) -> None:
        self.ready = ready
        self.tokens: list[str] = []
        handle = ready.sandbox.handle

        async def tapped(request: HttpRequest) -> Response:
            if "/target:east/" in request.path:
                self.tokens.append(request.headers.get("authorization", "").removeprefix("Bearer "))
            return await handle(request)

        ready.sandbox.handle = tapped  # type: ignore[method-assign]  # it is looked up for every request
        found = yaml.safe_load(ready.kubeconfigs["target-east"].read_text())
        self.cluster: dict[str, Any] = found["clusters"][0]["cluster"]
        self.token: str = found["users"][0]["user"]["token"]

    @property
    def listed(self) -> str:
        """The server as an operator lists it."""
        return self.cluster["server"].removeprefix("https://").partition("/clusters")[0] + "/clusters"


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    world = World(targets=[SandboxTarget("east"), SandboxTarget("hub")])
    async with serve(world, "127.0.0.1", 0, tmp_path / "servers") as ready:
        yield Cluster(ready)


@pytest.fixture
async def another(tmp_path: Path) -> AsyncIterator[Cluster]:
    """Somebody else's, with an authority of its own."""
    async with serve(World(targets=[SandboxTarget("east")]), "127.0.0.1", 0, tmp_path / "another") as ready:
        yield Cluster(ready)


@pytest.fixture
async def hub(cluster: Cluster) -> AsyncIterator[Client]:
    async with Client(load_kubeconfig(cluster.ready.kubeconfigs["target-hub"])) as client:
        await client.create(CRDS, multicluster.PROFILE_CRD)
        await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": FLEET}})
        await until(lambda: if_there(client.list(CLUSTER_PROFILES, namespace=FLEET)), within=WITHIN)
        yield client


@pytest.fixture
def issuing(cluster: Cluster, tmp_path: Path) -> Issuing:
    (tmp_path / "issuing").mkdir()
    found = Issuing(tmp_path / "issuing")
    found.does(f'issue(token="{cluster.token}")')
    return found


@contextlib.asynccontextmanager
async def reaching(hub: Client, listed: bytes) -> AsyncIterator[TargetClients]:
    providers = parsed(listed)
    clients = TargetClients(
        Hub(hub, "kubernetes"), user_agent="test", timeout=5.0, perimeter=BESIDE_US, providers=providers, prove=False
    )
    yield clients
    await clients.close()


async def say(hub: Client, name: str = "east", namespace: str = FLEET, **cluster: Any) -> None:
    """Have a ClusterProfile say that its cluster is there, by the provider."""
    profile = {
        "apiVersion": CLUSTER_PROFILES.api_version,
        "kind": "ClusterProfile",
        "metadata": {"name": name, "namespace": namespace},
    }
    with contextlib.suppress(ApiError):  # it is there
        await hub.create(CLUSTER_PROFILES, {**profile, "spec": {"clusterManager": {"name": "tests"}}})
    status = {"status": {"accessProviders": [{"name": PROVIDER, "cluster": cluster}]}}
    await hub.merge_patch(CLUSTER_PROFILES, name, status, namespace, subresource="status")


async def test_a_cluster_is_reached_by_what_the_program_issues_which_runs_once(
    hub: Client, cluster: Cluster, issuing: Issuing
) -> None:
    await say(hub, **cluster.cluster)
    async with reaching(hub, issuing.listed(cluster.listed)) as clients:
        client = await clients.get(EAST)
        for _ in range(3):
            assert (await client.get(NAMESPACES, "default"))["metadata"]["name"] == "default"
        assert await clients.get(EAST) is client
    assert cluster.tokens == [cluster.token] * 3
    (run,) = issuing.runs
    environment = {name: value for name, value in run["environment"].items() if name not in ("PATH", "LC_CTYPE")}
    asked = msgspec.json.decode(environment.pop(INFO))
    assert (environment, run["input"]) == ({"GREETING": "hello"}, "")
    assert asked == {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "spec": {
            "interactive": False,
            "cluster": {key: cluster.cluster[key] for key in ("server", "certificate-authority-data")},
        },
    }


async def test_a_token_that_is_refused_is_asked_for_anew(
    hub: Client, cluster: Cluster, issuing: Issuing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.kube.auth.program._PAUSE", 0.0)
    issuing.does('issue(token="outdated")')
    await say(hub, **cluster.cluster)
    async with reaching(hub, issuing.listed(cluster.listed)) as clients:
        client = await clients.get(EAST)
        with pytest.raises(ApiError) as refusal:
            await client.get(NAMESPACES, "default")
        assert refusal.value.unauthorized
        issuing.does(f'issue(token="{cluster.token}")')
        assert (await client.get(NAMESPACES, "default"))["metadata"]["name"] == "default"


async def test_a_server_that_refuses_everything_does_not_have_the_program_run_on_and_on(
    hub: Client, cluster: Cluster, issuing: Issuing
) -> None:
    issuing.does('issue(token="outdated")')
    await say(hub, **cluster.cluster)
    async with reaching(hub, issuing.listed(cluster.listed)) as clients:
        client = await clients.get(EAST)
        for _ in range(5):
            with pytest.raises(ApiError):
                await client.get(NAMESPACES, "default")
    assert len(issuing.runs) == 1


async def test_a_token_is_sent_to_no_other_server_not_even_to_one_that_is_listed(
    hub: Client, cluster: Cluster, another: Cluster, issuing: Issuing
) -> None:
    await say(hub, **cluster.cluster)
    async with reaching(hub, issuing.listed(cluster.listed, another.listed)) as clients:
        first = await clients.get(EAST)
        await first.get(NAMESPACES, "default")
        issuing.does('issue(token="forAnother")')
        await say(hub, **another.cluster)
        clients.renew(EAST.id)
        second = await clients.get(EAST)
        assert second is not first
        with pytest.raises(ApiError):
            await second.get(NAMESPACES, "default")
    assert set(another.tokens) == {"forAnother"}
    assert set(cluster.tokens) == {cluster.token}


async def test_whoever_writes_a_profile_has_no_token_sent_to_a_server_of_theirs(
    hub: Client, cluster: Cluster, another: Cluster, issuing: Issuing
) -> None:
    async with reaching(hub, issuing.listed(cluster.listed)) as clients:
        for change in (
            {},
            {"server": another.cluster["server"].replace("127.0.0.1", "localhost")},
            {"server": cluster.cluster["server"], "proxy-url": another.cluster["server"]},
            {"server": cluster.cluster["server"].replace("/clusters/", "/elsewhere/")},
        ):
            await say(hub, **{"proxy-url": None, **another.cluster, **change})
            clients.renew(EAST.id)
            with pytest.raises((NotAllowed, ConfigError)):
                await clients.get(EAST)
    assert (another.tokens, cluster.tokens, issuing.runs) == ([], [], [])


@pytest.mark.parametrize("network", ["10.0.0.0/8", "127.0.0.0/8"])
async def test_no_program_runs_for_a_name_where_networks_are_listed_wherever_it_resolves_to(
    hub: Client, another: Cluster, issuing: Issuing, network: str
) -> None:
    port, _, path = another.listed.partition(":")[2].partition("/")
    await say(hub, **{**another.cluster, "server": another.cluster["server"].replace("127.0.0.1", "localhost")})
    async with reaching(hub, issuing.listed(f"{network}:{port}/{path}")) as clients:
        with pytest.raises(NotAllowed, match="may not go to the server"):
            await clients.get(EAST)
    assert (another.tokens, issuing.runs) == ([], [])


async def test_no_program_runs_for_an_address_that_targets_may_not_have(hub: Client, issuing: Issuing) -> None:
    await say(hub, server="https://169.254.169.254:6443")
    async with reaching(hub, issuing.listed("0.0.0.0/0:6443")) as clients:
        with pytest.raises(NotAllowed, match="at an address that targets may not have"):
            await clients.get(EAST)
    assert issuing.runs == []


async def test_a_server_that_cannot_prove_itself_by_the_profiles_authority_gets_no_token(
    hub: Client, cluster: Cluster, another: Cluster, issuing: Issuing
) -> None:
    authority = another.cluster["certificate-authority-data"]
    await say(hub, **{**cluster.cluster, "certificate-authority-data": authority})
    async with reaching(hub, issuing.listed(cluster.listed)) as clients:
        client = await clients.get(EAST)
        with pytest.raises(Unreachable, match="certificate"):
            await client.get(NAMESPACES, "default")
    assert cluster.tokens == []


async def test_a_tenant_that_writes_the_reference_is_let_in_by_no_profile_of_others(
    hub: Client, cluster: Cluster, issuing: Issuing
) -> None:
    await hub.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "theirs"}})
    await say(hub, **cluster.cluster)
    await say(hub, "mine", "theirs", **cluster.cluster)
    async with reaching(hub, issuing.listed(cluster.listed)) as clients:
        for name, namespace in (("mine", FLEET), ("mine", "theirs")):
            at = "east" if namespace == FLEET else name
            ref = KubeconfigRef(namespace=namespace, name=at, key="", profile=True)
            with pytest.raises((NotAllowed, ConfigError)):
                await clients.get(Target(workspace="", name=name, uid="v", kubeconfig=ref))
    assert issuing.runs == []


async def test_where_the_operator_lists_nobody_or_the_profile_is_gone_nobody_is_let_in(
    hub: Client, cluster: Cluster, issuing: Issuing
) -> None:
    await say(hub, **cluster.cluster)
    clients = TargetClients(Hub(hub, "kubernetes"), user_agent="test", timeout=5.0, perimeter=BESIDE_US)
    with pytest.raises(NotAllowed, match="lets no access provider"):
        await clients.get(EAST)
    await clients.close()
    async with reaching(hub, issuing.listed(cluster.listed)) as clients:
        first = await clients.get(EAST)
        await hub.merge_patch(
            CLUSTER_PROFILES, "east", {"status": {"accessProviders": []}}, FLEET, subresource="status"
        )
        clients.renew(EAST.id)
        with pytest.raises(ConfigError, match="names no access provider"):
            await clients.get(EAST)
        await hub.delete(CLUSTER_PROFILES, "east", FLEET)
        with pytest.raises(ConfigError, match="does not exist"):
            await clients.get(EAST)
        await say(hub, **cluster.cluster)
        assert await clients.get(EAST) is first


async def test_no_failure_of_it_ends_a_look_otherwise_than_as_an_error_of_ours(
    hub: Client, cluster: Cluster, issuing: Issuing
) -> None:
    issuing.does("sys.exit(1)")
    await say(hub, **cluster.cluster)
    async with reaching(hub, issuing.listed(cluster.listed)) as clients:
        client = await clients.get(EAST)
        with pytest.raises(KubeError, match=f"access provider {PROVIDER} ended with exit code 1"):
            await client.get(NAMESPACES, "default")
    assert cluster.tokens == []
