"""The rights in deploy/kubernetes are enough: with them alone, on a plain Kubernetes hub, placements come and go."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from services import PIPELINE
from shared.broker.nats.server import NatsServer
from tests.support import perimeter
from tests.support.compose import ROOT
from tests.support.process import BIN, Process, process
from tests.support.worlds import deployment, placement

OVERRIDE = {
    "apiVersion": "placement.moorage.io/v1alpha1",
    "kind": "PlacementOverride",
    "metadata": {"name": "keep-out"},
    "spec": {"type": "Exclude", "placementRef": {"name": "web"}, "targets": [{"name": "other"}], "reason": "a test"},
}

HUB, NAMESPACE, SYSTEM = "root:hub", "apps", "moorage-system"
OF_THE_HUB = ("controller", "discovery", "decision", "binding", "status", "intake")
ACCOUNTS = {name: f"system:serviceaccount:{SYSTEM}:{name}" for name in OF_THE_HUB}
WORLD = {
    "workspaces": [HUB],
    "users": [
        {"name": "alice", "workspaces": {HUB: "admin"}},
        *({"name": account, "workspaces": {HUB: "none"}} for account in ACCOUNTS.values()),
    ],
    "targets": [{"name": "one", "workspace": HUB}],
}
RBAC = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding")


async def kubectl(kubeconfig: Path, *arguments: str, stdin: Sequence[dict[str, Any]] = ()) -> str:
    """Run kubectl against the hub, while our own processes are listened to; fails with what it says."""
    found = await asyncio.to_thread(
        subprocess.run,
        [str(BIN / "kubectl"), "--kubeconfig", str(kubeconfig), *arguments],
        input=yaml.safe_dump_all(stdin),
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def rights() -> list[dict[str, Any]]:
    """The RBAC objects, with roles gathered as kube-controller-manager does it, which the sandbox has not."""
    rendered = subprocess.run(
        [str(BIN / "kubectl"), "kustomize", str(ROOT / "deploy/kubernetes")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    objects = [each for each in yaml.safe_load_all(rendered.stdout) if each["kind"] in RBAC]
    roles = [each for each in objects if each["kind"] == "ClusterRole"]
    for role in roles:
        for selector in role.pop("aggregationRule", {}).get("clusterRoleSelectors", []):
            wanted = selector["matchLabels"].items()
            gathered = [each for each in roles if wanted <= each["metadata"].get("labels", {}).items()]
            role["rules"] = [rule for each in gathered for rule in each["rules"]]
    return objects


def of_the_hub(data: Path, user: str) -> Path:
    """A user's kubeconfig, made to lead to the hub."""
    document = yaml.safe_load((data / f"{user}.kubeconfig").read_text())
    cluster = document["clusters"][0]["cluster"]
    cluster["server"] = f"{cluster['server'].partition('/clusters/')[0]}/clusters/{HUB}"
    path = data / f"hub-{user.rpartition(':')[2]}.kubeconfig"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture
async def data(tmp_path: Path) -> AsyncIterator[Path]:
    """A hub with the rights, and one cluster on offer; the folder with kubeconfigs."""
    world, data = tmp_path / "world.yaml", tmp_path / "data"
    world.write_text(yaml.safe_dump(WORLD))
    serve = ["python", "-m", "services.sandbox", "--port", "0", "--world", str(world), "--data", str(data)]
    offer = ["moorage", "world", "apply", "--world", str(world), "--targets", str(data)]
    async with process(serve, os.environ) as sandbox:
        await sandbox.record(lambda record: record["message"] == "sandbox ready")
        async with process([*offer, "--kubeconfig", str(data / "admin.kubeconfig")], os.environ) as offering:
            assert await offering.ends() == 0, offering.output
        await kubectl(of_the_hub(data, "admin"), "apply", "--server-side", "-f", "-", stdin=rights())
        yield data


async def test_a_placement_is_placed_and_removed_with_the_rights_of_the_manifests_alone(
    data: Path, tmp_path: Path
) -> None:
    alice, admin = of_the_hub(data, "user-alice"), of_the_hub(data, "admin")
    workers: list[Process] = []
    async with NatsServer(tmp_path / "nats") as nats, AsyncExitStack() as stack:
        for name in PIPELINE:
            env = {
                **os.environ,
                "MOORAGE_NATS_URL": nats.url,
                "MOORAGE_HUB": "kubernetes",
                "MOORAGE_LOG_FORMAT": "json",
                **perimeter.ENVIRONMENT,
            }
            if name in ACCOUNTS:
                env["MOORAGE_KUBECONFIG"] = str(of_the_hub(data, f"user-{ACCOUNTS[name]}"))
            workers.append(await stack.enter_async_context(process(["moorage", "worker", name], env)))
        for worker in workers:
            await worker.record(lambda record: record["message"] == "ready")
        await kubectl(alice, "create", "namespace", NAMESPACE)
        await kubectl(alice, "apply", "-f", "-", stdin=[deployment("web"), placement("web")])
        await kubectl(alice, "wait", "placement/web", "-n", NAMESPACE, "--for=condition=Ready", "--timeout=60s")
        await kubectl(admin, "apply", "-f", "-", stdin=[OVERRIDE])
        await kubectl(admin, "wait", "placementoverride/keep-out", "--for=condition=Accepted=True", "--timeout=60s")
        target = data / "target-one.kubeconfig"
        assert "deployment.apps/web" in await kubectl(target, "get", "deployments", "-n", NAMESPACE, "-o", "name")
        await kubectl(alice, "delete", "placement/web", "-n", NAMESPACE, "--timeout=60s")
        assert not await kubectl(target, "get", "deployments", "-n", NAMESPACE, "-o", "name")
        assert not [line for worker in workers for line in worker.lines if "orbidden" in line]
