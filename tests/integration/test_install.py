"""`moorage install kubernetes` and `uninstall kubernetes` as a user runs them, on a sandbox and on the real thing."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import yaml

from services.cli.hub.connection import MANAGER
from services.cli.hub.uninstalling import GONE_WITHIN
from services.cli.main import main
from services.decision.kubernetes import Decisions
from shared.api.resources import RESOURCES
from shared.broker.bus import Retry
from shared.hub.hub import Hub as HubOf
from shared.hub.names import APPLIED_FINALIZER, PLACED_FINALIZER
from shared.hub.resources import BINDINGS, DECISIONS, PLACEMENTS
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.errors import KubeError
from shared.kube.resources import CLUSTERROLES, CRDS, DEPLOYMENTS, NAMESPACES, Resource
from shared.model.refs import PlacementRef
from tests.conformance.api import until
from tests.conformance.backends import BACKENDS, REQUIRED, Backend, NotHere
from tests.support.client import if_there
from tests.support.earlier import earlier_decisions
from tests.support.process import process
from tests.support.worlds import deployment, placement

EARLIER_FINALIZER = "placement.moorage.io/cleanup"  # no worker sets it any more
STRANGER = "example.com/hold"
WITHIN = GONE_WITHIN + 30  # seconds: a busy API server may need its time to take a CRD away

pytestmark = pytest.mark.timeout(2 * WITHIN)


class Hub:
    """A hub, and the command line to prepare it with."""

    def __init__(self, backend: Backend, client: Client) -> None:
        self.client = client
        self.backend = backend
        # The sandbox has no admission policies: what they do, it does by itself.
        self.without = [] if backend.name == "kubernetes" else ["--without-admission"]

    async def run(self, *words: str) -> tuple[int, str]:
        command = ["moorage", *words, "--kubeconfig", str(self.backend.admin)]
        async with process(command, os.environ) as running:
            return await running.ends(WITHIN), running.output

    async def install(self, *more: str) -> str:
        code, output = await self.run("install", "kubernetes", *self.without, *more)
        assert code == 0, output
        return output

    async def uninstall(self, *more: str) -> tuple[int, str]:
        return await self.run("uninstall", "kubernetes", *more)

    async def has(self, resource: Resource, name: str, namespace: str = "") -> bool:
        return await if_there(self.client.get(resource, name, namespace)) is not None


@pytest.fixture(
    params=[
        "sandbox",
        pytest.param("kubernetes", marks=[pytest.mark.servers, pytest.mark.xdist_group("servers-install")]),
    ]
)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    with ExitStack() as stack:
        try:
            found = stack.enter_context(BACKENDS[request.param](tmp_path))
        except NotHere as reason:
            if os.environ.get(REQUIRED):
                pytest.fail(f"{REQUIRED} is set, and there is {reason}")
            pytest.skip(str(reason))
        yield found


@pytest.fixture
async def hub(backend: Backend) -> AsyncIterator[Hub]:
    async with Client(load_kubeconfig(backend.admin), timeout=30) as client:
        yield Hub(backend, client)


async def place(hub: Hub, *others: str) -> None:
    """A Placement, held by the finalizer that the controller gives it, and maybe by others."""
    await hub.client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "apps"}})
    await hub.client.create(PLACEMENTS, held(placement("web"), PLACED_FINALIZER, *others))


def held(document: dict, *finalizers: str) -> dict:
    """The object with finalizers."""
    return {**document, "metadata": {**document["metadata"], "finalizers": list(finalizers)}}


def binding(name: str) -> dict:
    """A PlacementBinding."""
    return {
        "apiVersion": BINDINGS.api_version,
        "kind": BINDINGS.kind,
        "metadata": {"name": name, "namespace": "apps"},
        "spec": {"placementRef": {"name": "web"}, "target": {"name": "east"}},
    }


async def test_a_hub_is_prepared_once_kept_as_it_is_and_given_back(hub: Hub):
    first = await hub.install()
    assert "placements.placement.moorage.io created" in first
    assert "clusterrolebinding.rbac.authorization.k8s.io/moorage-binding created" in first
    second = (await hub.install()).splitlines()
    assert second
    assert {line.rpartition(" ")[2] for line in second} == {"unchanged"}
    objects = [each for each in yaml.safe_load_all(await hub.install("-o", "yaml")) if each]
    assert len(objects) == len(second)
    assert all(each["metadata"]["resourceVersion"] for each in objects)

    await place(hub)
    code, output = await hub.uninstall()
    assert (code, "1 Placements are there (apps/web)" in output) == (1, True), output
    assert await hub.has(CLUSTERROLES, "moorage-binding")

    code, output = await hub.uninstall("--force")
    assert code == 0, output
    assert f"left as it is: {len(RESOURCES)} CRDs with their objects" in output
    assert not await hub.has(CLUSTERROLES, "moorage-binding")
    assert await hub.has(PLACEMENTS, "web", "apps")

    code, output = await hub.uninstall("--force", "--crds")
    assert code == 0, output
    assert not await hub.has(CRDS, "placements.placement.moorage.io")
    assert await hub.has(NAMESPACES, "moorage-system")
    assert await hub.uninstall("--crds") == (
        0,
        "left as it is: namespace/moorage-system; what was placed in target clusters",
    )


async def test_what_the_release_before_decided_is_read_after_an_upgrade_and_takes_the_new_shape(hub: Hub):
    await hub.client.apply(CRDS, earlier_decisions(), field_manager=MANAGER)
    await hub.client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "apps"}})
    decisions, ref = (
        Decisions(HubOf(hub.client, "kubernetes")),
        PlacementRef(workspace="", namespace="apps", name="web"),
    )
    metadata = {"name": ref.name, "namespace": ref.namespace}
    body = {"apiVersion": DECISIONS.api_version, "kind": DECISIONS.kind, "metadata": metadata}

    async def served():
        return await if_there(hub.client.list(DECISIONS, "apps"))

    await until(served, "PlacementDecisions are served")
    made = await hub.client.create(DECISIONS, body)
    decided = {"attempt": 3, "selected": [{"target": {"name": "east"}}], "rationale": "so"}
    await hub.client.replace(DECISIONS, {**made, "status": decided}, subresource="status")

    assert "placementdecisions.placement.moorage.io configured" in await hub.install()
    known = await decisions.read(ref)
    assert known is not None
    assert (known.status.attempt, len(known.status.selected)) == (3, 1)

    async def in_order():
        with suppress(Retry, KubeError):  # an API server takes a moment to serve a CRD as it is now
            await decisions.put_in_order("")
        found = await hub.client.get(DECISIONS, ref.name, ref.namespace)
        return "decisions" in found["status"] and found

    found = await until(in_order, "it has the new shape")
    assert found["status"]["attempt"] == 3
    assert found["status"]["rationale"] == "so"
    assert [each["clusterName"] for each in found["status"]["decisions"]] == ["east"]


async def test_by_force_objects_go_whichever_finalizers_of_ours_they_carry(hub: Hub):
    await hub.install()
    await place(hub)
    await hub.client.create(BINDINGS, held(binding("web-east"), APPLIED_FINALIZER))
    await hub.client.create(PLACEMENTS, held(placement("old"), EARLIER_FINALIZER, PLACED_FINALIZER))
    code, output = await hub.uninstall("--force", "--crds")
    assert code == 0, output
    assert "held by" not in output
    assert not await hub.has(CRDS, PLACEMENTS.name)
    assert not await hub.has(CRDS, BINDINGS.name)


async def test_a_strangers_finalizer_stays_is_told_and_waited_for(hub: Hub):
    await hub.install()
    await place(hub, STRANGER)
    command = ["moorage", "uninstall", "kubernetes", "--force", "--crds", "--kubeconfig", str(hub.backend.admin)]
    async with process(command, os.environ) as running:

        async def being_deleted():
            found = (await hub.client.get(PLACEMENTS, "web", "apps"))["metadata"]
            return found.get("deletionTimestamp") and found["finalizers"] == [STRANGER]

        await until(being_deleted, "the Placement is being deleted, and held by the stranger alone")
        await hub.client.merge_patch(PLACEMENTS, "web", {"metadata": {"finalizers": None}}, "apps")
        assert await running.ends(WITHIN) == 0, running.output
    told = f"{PLACEMENTS.name} apps/web is held by {STRANGER}, which is not ours to take off"
    assert told in running.lines
    assert not await hub.has(CRDS, PLACEMENTS.name)


@pytest.mark.parametrize("backend", ["sandbox"], indirect=True)
async def test_what_a_stranger_holds_for_too_long_fails_the_command(hub: Hub, monkeypatch, capsys):
    await hub.install()
    await place(hub, STRANGER)
    monkeypatch.setattr("services.cli.hub.uninstalling.GONE_WITHIN", 0.5)
    command = ["uninstall", "kubernetes", "--force", "--crds", "--kubeconfig", str(hub.backend.admin)]
    with pytest.raises(SystemExit) as ended:
        await asyncio.to_thread(main, command)
    assert ended.value.code == 1
    said = f"{PLACEMENTS.name} is not gone after 0.5 s: apps/web is held by {STRANGER}"
    assert said in capsys.readouterr().err
    assert await hub.has(PLACEMENTS, "web", "apps")


async def test_nothing_is_taken_away_from_under_workers(hub: Hub):
    await hub.install()
    worker = deployment("controller", namespace="moorage-system")
    worker["metadata"]["labels"] = {"app.kubernetes.io/name": "moorage"}
    await hub.client.create(DEPLOYMENTS, worker)
    code, output = await hub.uninstall("--force", "--crds")
    assert code == 1
    assert "workers run in moorage-system (controller): take them away first" in output
    assert await hub.has(CLUSTERROLES, "moorage-controller")


async def test_a_field_that_somebody_else_set_is_not_taken_over_unasked(hub: Hub):
    await hub.install()
    rules = {"rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["*"]}]}
    await hub.client.merge_patch(CLUSTERROLES, "moorage-status", rules, field_manager="somebody")
    code, output = await hub.run("install", "kubernetes", *hub.without)
    assert code == 1
    assert "moorage-status" in output
    assert 'conflict with "somebody"' in output
    assert "--force-conflicts takes these fields over" in output
    assert "moorage-status configured" in await hub.install("--force-conflicts")


@pytest.mark.parametrize("backend", ["sandbox"], indirect=True)
async def test_without_admission_a_hub_is_left_as_it_is(hub: Hub):
    code, output = await hub.run("install", "kubernetes")
    assert code == 1
    assert "has no MutatingAdmissionPolicy in admissionregistration.k8s.io/v1" in output
    assert "--without-admission installs the rest" in output
    assert not await hub.has(NAMESPACES, "moorage-system")


async def test_a_dry_run_prints_the_manifests_and_needs_no_server():
    async with process(["moorage", "install", "kubernetes", "--dry-run"], os.environ) as printing:
        assert await printing.ends() == 0
    objects = list(yaml.safe_load_all(printing.output))
    kinds = [each["kind"] for each in objects]
    assert kinds.count("CustomResourceDefinition") == len(RESOURCES)
    assert kinds.index("Namespace") < kinds.index("ServiceAccount")
    assert {"ClusterRole", "ClusterRoleBinding", "MutatingAdmissionPolicy", "ValidatingAdmissionPolicy"} <= set(kinds)


async def test_a_hub_that_does_not_answer_is_told_in_one_line(tmp_path: Path):
    kubeconfig = tmp_path / "kubeconfig"
    cluster = {"name": "x", "cluster": {"server": "https://127.0.0.1:1"}}
    context = {"name": "x", "context": {"cluster": "x"}}
    kubeconfig.write_text(
        yaml.safe_dump({"clusters": [cluster], "contexts": [context], "current-context": "x", "kind": "Config"})
    )
    for command in (["install", "kubernetes"], ["uninstall", "kubernetes"]):
        async with process(["moorage", *command, "--kubeconfig", str(kubeconfig)], os.environ) as running:
            assert await running.ends() == 1
        assert len(running.lines) == 1
        assert running.lines[0].startswith("moorage: ")
