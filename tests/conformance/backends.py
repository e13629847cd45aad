"""The API servers that the cases run against: what each gives a test, and how it comes to be there."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from tests.support import apiserver, kcp, servers
from tests.support.grants import ACCESS, grant

STRANGER = "stranger"
"""A user without any rights but those that everybody has."""
WORKSPACE = "root:conformance"
SANDBOX_WORLD = {
    "workspaces": [WORKSPACE],
    "users": [{"name": STRANGER, "groups": ["strangers"], "workspaces": {WORKSPACE: "none"}}],
    "targets": [{"name": "one"}],
    "delay": 0.05,
}
K3S = "rancher/k3s:v1.36.1-k3s1"
KUBECONFIG = "MOORAGE_CONFORMANCE_KUBECONFIG"
REQUIRED = "MOORAGE_REQUIRE_SERVERS"


class NotHere(Exception):
    """This backend cannot be had on this machine; one sentence that says why."""


@dataclass(frozen=True)
class Backend:
    """An API server under test.

    `admin`, `stranger` and `workloads` are kubeconfigs. `stranger` is None where the server was given to us without
    one. `workloads` leads to where Deployments are built in (not in a workspace of kcp, which has them by definition);
    it is None where there is no such place. `forget` makes the server forget old versions, as time does; None where we
    have no hold on that.
    """

    name: str
    version: str
    admin: Path
    workloads: Path | None
    stranger: Path | None = None
    forget: Callable[[], None] | None = None
    extras: dict[str, Path] = field(default_factory=dict)


@contextmanager
def sandbox(folder: Path) -> Iterator[Backend]:
    """Our own control plane, one workspace of it: everything that kcp asks before a request comes on top."""
    world = folder / "world.yaml"
    world.write_text(yaml.safe_dump(SANDBOX_WORLD))
    command = [sys.executable, "-m", "services.sandbox", "--port", "0", "--world", str(world), "--data", str(folder)]
    with (folder / "sandbox.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        assert process.stdout is not None
        try:
            said = process.stdout.readline()
            if not said:
                raise AssertionError((folder / "sandbox.log").read_text())
            kubeconfigs = {name: Path(path) for name, path in json.loads(said)["kubeconfigs"].items()}
            mine = {name: _leading_to(WORKSPACE, kubeconfigs[name]) for name in ("admin", f"user-{STRANGER}")}
            yield Backend(
                name="sandbox",
                version="sandbox",
                admin=mine["admin"],
                workloads=kubeconfigs["target-one"],
                stranger=mine[f"user-{STRANGER}"],
                forget=lambda: _post(kubeconfigs["admin"], "/sandbox/forget"),
                extras=kubeconfigs,
            )
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


@contextmanager
def kubernetes(folder: Path) -> Iterator[Backend]:
    """A real API server: the one that MOORAGE_CONFORMANCE_KUBECONFIG names, or one of our own with etcd.

    Raises NotHere.
    """
    if given := os.environ.get(KUBECONFIG):
        yield Backend(name="kubernetes", version="as given", admin=Path(given), workloads=Path(given))
        return
    binaries = servers.find()
    if binaries is None:
        raise NotHere(f"no kube-apiserver in {servers.folder()}: make servers builds it, {KUBECONFIG} names another")
    versions = servers.KUBERNETES.versions()
    with apiserver.servers(binaries, folder) as running:
        server = running.apiserver("conformance", [(STRANGER, ["strangers"])], controllers=apiserver.CONTROLLERS)
        yield Backend(
            name="kubernetes",
            version=f"kube-apiserver {versions['kube-apiserver']}, etcd {versions['etcd']}",
            admin=server.kubeconfigs[apiserver.ADMIN],
            workloads=server.kubeconfigs[apiserver.ADMIN],
            stranger=server.kubeconfigs[STRANGER],
            forget=running.etcd.compact,
        )


@contextmanager
def k3s(folder: Path) -> Iterator[Backend]:
    """A published image of k3s, where Docker is. Raises NotHere."""
    from tests.support.engine import has, why_not

    if reason := why_not():
        raise NotHere(f"no Docker engine answers: {reason}")
    if not has(K3S):
        raise NotHere(f"the Docker engine has no image {K3S}, and cannot pull it")
    from testcontainers.community.k3s import K3SContainer

    with K3SContainer(K3S) as container:
        path = folder / "k3s.kubeconfig"
        path.write_text(container.config_yaml())
        yield Backend(name="k3s", version="k3s v1.36.1", admin=path, workloads=path)


@contextmanager
def real_kcp(folder: Path) -> Iterator[Backend]:
    """One workspace of a real kcp, which its stranger may enter and no more. Raises NotHere."""
    try:
        with kcp.kcp(folder, [(STRANGER, ["strangers"])]) as running:
            asyncio.run(_furnished(running))
            yield Backend(
                name="kcp",
                version="as given",
                admin=running.kubeconfig(workspace=WORKSPACE),
                workloads=None,
                stranger=running.kubeconfig(STRANGER, WORKSPACE),
            )
    except kcp.NoKcp as reason:
        raise NotHere(str(reason)) from None


async def _furnished(running: kcp.Kcp) -> None:
    """Make the workspace, and let the stranger in."""
    async with Client(load_kubeconfig(running.kubeconfig()), timeout=30) as root:
        await kcp.add_workspace(root, WORKSPACE.partition(":")[2])
        await grant(root.cluster(WORKSPACE), STRANGER, ACCESS)


KCP = pytest.param("kcp", marks=[pytest.mark.kcp, pytest.mark.xdist_group("kcp")])
"""A case on a real kcp as well; all of them share one."""

BACKENDS = {"sandbox": sandbox, "kubernetes": kubernetes, "k3s": k3s, "kcp": real_kcp}


def _post(kubeconfig: Path, path: str) -> None:
    """Ask the sandbox itself for something, as its administrator."""

    async def post() -> None:
        async with Client(load_kubeconfig(kubeconfig)) as client:
            await client.at(client.base.partition("/clusters/")[0]).request("POST", path)

    asyncio.run(post())


def _leading_to(workspace: str, kubeconfig: Path) -> Path:
    """A copy of a kubeconfig of the sandbox that leads to one workspace."""
    document = yaml.safe_load(kubeconfig.read_text())
    cluster = document["clusters"][0]["cluster"]
    cluster["server"] = f"{cluster['server'].partition('/clusters/')[0]}/clusters/{workspace}"
    path = kubeconfig.with_name(f"conformance-{kubeconfig.name}")
    path.write_text(yaml.safe_dump(document))
    return path
