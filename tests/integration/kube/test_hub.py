"""When a workspace is gone for certain, asked of a sandbox that answers as kcp does."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.sandbox.run import Ready, serve
from services.sandbox.wire.faults import Fault
from services.sandbox.world.world import World
from shared.hub.hub import Hub
from shared.hub.resources import WORKSPACES
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.errors import ApiError, KubeError

TEAM, DEEP = "root:org:team", "root:org:team:deep"


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Ready]:
    async with serve(World(workspaces=["root:org", TEAM, DEEP], serves=[]), "127.0.0.1", 0, tmp_path) as ready:
        yield ready


@pytest.fixture
async def hub(sandbox: Ready) -> AsyncIterator[Hub]:
    async with Client(load_kubeconfig(sandbox.kubeconfigs["admin"])) as client:
        yield Hub(client, "kcp")


async def test_a_workspace_is_gone_when_its_parent_says_so_by_name(hub: Hub) -> None:
    assert not await hub.is_gone(TEAM)
    await hub.at("root:org").delete(WORKSPACES, "team")
    assert await hub.is_gone(TEAM)
    assert await hub.is_gone("root:never-was")
    await hub.at("root:org").create(
        WORKSPACES, {"apiVersion": WORKSPACES.api_version, "kind": "Workspace", "metadata": {"name": "team"}}
    )
    assert not await hub.is_gone(TEAM)


async def test_what_was_below_a_workspace_is_gone_with_it(hub: Hub) -> None:
    assert not await hub.is_gone(DEEP)
    await hub.at("root").delete(WORKSPACES, "org")
    with pytest.raises(ApiError) as refused:
        await hub.at(TEAM).get(WORKSPACES, "deep")
    assert refused.value.forbidden
    assert await hub.is_gone(DEEP)


@pytest.mark.parametrize("path", ["root", "", "elsewhere"])
async def test_nobody_says_that_a_root_is_gone(hub: Hub, path: str) -> None:
    assert not await hub.is_gone(path)


async def test_plain_kubernetes_has_one_workspace_that_is_never_gone(hub: Hub) -> None:
    assert not await Hub(hub.client, "kubernetes").is_gone("root:never-was")


@pytest.mark.parametrize("kind", ["403", "lag"])
async def test_a_parent_that_refuses_us_or_that_an_index_does_not_know_and_is_there_proves_nothing(
    hub: Hub, sandbox: Ready, kind: str
) -> None:
    await hub.at("root:org").delete(WORKSPACES, "team")
    fault = sandbox.sandbox.faults.add(Fault(kind=kind, cluster="root:org", resource="workspaces*"))  # type: ignore[arg-type]
    assert not await hub.is_gone(TEAM)
    sandbox.sandbox.faults.remove(fault)
    assert await hub.is_gone(TEAM)


@pytest.mark.parametrize("kind", ["500", "503", "expired-token", "unavailable"])
@pytest.mark.parametrize("where", ["root:org", "root"])
async def test_trouble_is_no_answer(hub: Hub, sandbox: Ready, kind: str, where: str) -> None:
    await hub.at("root").delete(WORKSPACES, "org")
    await hub.at("root").create(
        WORKSPACES, {"apiVersion": WORKSPACES.api_version, "kind": "Workspace", "metadata": {"name": "org"}}
    )
    sandbox.sandbox.faults.add(Fault(kind=kind, cluster=where))  # type: ignore[arg-type]
    with pytest.raises(KubeError):
        await hub.is_gone(TEAM if where == "root:org" else "root:never-was")
