"""Every case gets `api`: one API server after another, as a client with all rights and a namespace of its own."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import pytest

from shared.hub.resources import WORKSPACES
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from tests.conformance.api import Api, namespace
from tests.conformance.backends import BACKENDS, KCP, REQUIRED, Backend, NotHere
from tests.conformance.exports import Tree
from tests.conformance.otherwise import KCP as KCP_DOES_OTHERWISE
from tests.conformance.widgets import install
from tests.support.kcp import add_workspace


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if reason := KCP_DOES_OTHERWISE.get(item.name):
            item.add_marker(pytest.mark.xfail(reason=f"on kcp {reason}"))


@pytest.fixture(
    scope="session",
    params=[
        pytest.param("sandbox", marks=pytest.mark.xdist_group("conformance-sandbox")),
        pytest.param("kubernetes", marks=[pytest.mark.servers, pytest.mark.xdist_group("servers")]),
        pytest.param("k3s", marks=[pytest.mark.docker, pytest.mark.xdist_group("conformance-k3s")]),
        KCP,
    ],
)
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """A running API server. Skips, and says why, where it cannot be had; fails where it must be there."""
    with ExitStack() as stack:
        yield _started(stack, request.param, tmp_path_factory)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Backend]]:
    """The sandbox, and a real API server beside it."""
    with ExitStack() as stack:
        yield [_started(stack, name, tmp_path_factory) for name in ("kubernetes", "sandbox")]


def _started(stack: ExitStack, name: str, folders: pytest.TempPathFactory) -> Backend:
    try:
        found = stack.enter_context(BACKENDS[name](folders.mktemp(name)))
    except NotHere as reason:
        if os.environ.get(REQUIRED) and name == "kubernetes":
            pytest.fail(f"{REQUIRED} is set, and there is {reason}")
        pytest.skip(str(reason))
    asyncio.run(install(found.admin))
    return found


@pytest.fixture
async def api(backend: Backend) -> AsyncIterator[Api]:
    """The server as this case sees it, with a namespace of its own."""
    admin = Client(load_kubeconfig(backend.admin), user_agent="conformance", timeout=30)
    async with admin, namespace(admin) as name:
        yield Api(backend, admin, name)


@pytest.fixture
async def there(api: Api) -> AsyncIterator[Api]:
    """Where workloads are built in."""
    if api.backend.workloads is None:
        pytest.skip(f"{api.backend.name} builds no workloads in")
    admin = Client(load_kubeconfig(api.backend.workloads), user_agent="conformance", timeout=30)
    async with admin, namespace(admin) as name:
        yield Api(api.backend, admin, name)


@pytest.fixture
async def stranger(backend: Backend) -> AsyncIterator[Client]:
    """A client of the user without rights."""
    if backend.stranger is None:
        pytest.skip(f"{backend.name} was given to us without a second user")
    async with Client(load_kubeconfig(backend.stranger), user_agent="stranger", timeout=30) as client:
        yield client


@pytest.fixture
async def tree(api: Api) -> AsyncIterator[Tree]:
    """Two workspaces of this case's own, `provider` and `consumer`."""
    root = api.admin.cluster("root")
    await add_workspace(root, api.namespace)
    tree = Tree(api.admin, f"root:{api.namespace}")
    for name in ("provider", "consumer"):
        await add_workspace(tree.at(), name)
    yield tree
    await root.delete(WORKSPACES, api.namespace)
