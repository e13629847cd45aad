"""Our kinds as workers see them on kcp: through the export's virtual workspace, by wildcard watches, and no others."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import pytest

from services.cli.hub.providing import SLICES
from shared.api import GROUP, SyncTarget, decode_synctarget
from shared.api.generate.crds import crd
from shared.api.resources import RESOURCES
from shared.hub.export import Export, follow
from shared.hub.hub import Hub as HubOf
from shared.hub.resources import APIBINDINGS, PLACEMENTS, SYNCTARGETS, WORKSPACES
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.informer import Informer
from shared.kube.resources import CRDS, SECRETS
from tests.conformance.api import until
from tests.conformance.backends import BACKENDS, KCP, Backend, NotHere
from tests.conformance.exports import LOGICAL_CLUSTERS
from tests.integration.test_on_kcp import WITHIN, Hub
from tests.support.client import if_there
from tests.support.kcp import add_workspace
from tests.support.manifests import obj

pytestmark = pytest.mark.timeout(4 * WITHIN)

PROVIDER = "root:fanned"


@pytest.fixture(scope="module", params=["sandbox", KCP])
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with ExitStack() as stack:
        try:
            found = stack.enter_context(BACKENDS[request.param](tmp_path_factory.mktemp(request.param)))
        except NotHere as reason:
            pytest.skip(str(reason))
        yield found


@pytest.fixture
async def hub(backend: Backend) -> AsyncIterator[Hub]:
    async with Client(load_kubeconfig(backend.admin), timeout=30) as client:
        found = Hub(backend, client)
        if not await if_there(found.root.get(WORKSPACES, PROVIDER.rpartition(":")[2])):
            await found.install("--provider", PROVIDER)
        yield found


@asynccontextmanager
async def seeing(hub: Hub) -> AsyncIterator[HubOf]:
    """The hub as workers see it."""
    async with Export(hub.root, PROVIDER, GROUP) as export:
        await export.await_whole(WITHIN)
        yield HubOf(hub.root, "kcp", export)


async def consumer(hub: Hub, name: str) -> str:
    """A workspace that has bound the export."""
    await add_workspace(hub.root, name)
    await hub.succeeds("bind", "--workspace", f"root:{name}", "--provider", PROVIDER)
    return f"root:{name}"


async def offer(client: Client, name: str) -> dict[str, Any]:
    body = obj("SyncTarget", SYNCTARGETS.api_version, name=name, namespace="", spec={"agent": {}})
    return await client.create(SYNCTARGETS, body)


def targets(client: Client) -> Informer[SyncTarget]:
    return follow(client, SYNCTARGETS, decode=decode_synctarget)


async def names(informer: Informer[SyncTarget], *wanted: str) -> None:
    async def seen() -> bool:
        return informer.synced.is_set() and {name for _, name in informer.objects} == set(wanted)

    await until(seen, f"{', '.join(wanted) or 'nothing'} is seen")


async def test_what_a_workspace_made_itself_under_our_names_is_never_seen(hub: Hub) -> None:
    path = await consumer(hub, "honest")
    await offer(hub.at(path), "east")
    await add_workspace(hub.root, "forger")
    forger = hub.at("root:forger")
    for each in map(crd, RESOURCES):
        await forger.create(CRDS, each)

    async def forged() -> bool:
        try:
            return bool(await offer(forger, "east"))
        except ApiError as error:
            if not (error.not_found or error.status == 503):
                raise
            return False

    await until(forged, "kinds of its own are served")
    async with seeing(hub) as found:
        assert (await found.at(path).get(SYNCTARGETS, "east"))["metadata"]["name"] == "east"
        with pytest.raises(ApiError) as refused:
            await found.at("root:forger").get(SYNCTARGETS, "east")
        assert refused.value.not_found
        assert not refused.value.absent("east"), "that would say that there was one once"
        with pytest.raises(ApiError, match="has not bound"):
            await found.at("root:forger").list(PLACEMENTS)
        async with targets(found.at(path)) as honest, targets(found.at("root:forger")) as other:
            await names(honest, "east")
            await other.tried.wait()
            assert not other.synced.is_set()
            assert not other.objects
            await offer(hub.at(path), "west")
            await names(honest, "east", "west")
            await hub.at(path).delete(SYNCTARGETS, "east")
            await names(honest, "west")
            assert not other.objects


async def test_secrets_are_read_through_the_export_only_while_the_workspace_accepts_that(hub: Hub) -> None:
    path = await consumer(hub, "discreet")
    await hub.at(path).create(SECRETS, obj("Secret", "v1", name="kept", namespace="default"))
    (seen,) = await through(hub, path)

    async def read() -> bool:
        try:
            await seen.get(SECRETS, "kept", "default")
        except ApiError as error:
            assert error.forbidden, error  # noqa: PT017 - by the answer it is told
            return False
        return True

    async def unread() -> bool:
        return not await read()

    assert not await read()
    bind = ("bind", "--workspace", path, "--provider", PROVIDER)
    await hub.succeeds(*bind, "--accept", "secrets")
    await until(read, "Secrets are read where that is accepted")
    await hub.succeeds(*bind)
    await until(unread, "it is taken back")


async def through(hub: Hub, path: str) -> list[Client]:
    """The workspace as the export's virtual workspaces show it."""
    id_ = (await hub.at(path).get(LOGICAL_CLUSTERS, "cluster"))["metadata"]["annotations"]["kcp.io/cluster"]
    slices = (await hub.at(PROVIDER).list(SLICES)).items
    return [
        hub.root.at(f"{each['url']}/clusters/{id_}")
        for one in slices
        for each in (one.get("status") or {}).get("endpoints") or ()
    ]


async def test_who_binds_later_is_seen_and_who_unbinds_no_more(hub: Hub) -> None:
    await consumer(hub, "early")
    async with seeing(hub) as found, targets(found.at("root:later")) as later:
        path = await consumer(hub, "later")
        await offer(hub.at(path), "east")
        await names(later, "east")
        made = await found.at(path).merge_patch(SYNCTARGETS, "east", {"metadata": {"labels": {"a": "b"}}})
        assert made["metadata"]["labels"] == {"a": "b"}
        assert (await found.at(path).get(SYNCTARGETS, "east"))["metadata"]["labels"] == {"a": "b"}
        await hub.at(path).delete(SYNCTARGETS, "east")
        await names(later)
        await hub.at(path).delete(APIBINDINGS, GROUP)
        assert found.export is not None
        await until(lambda: unbound(found, path), "it is no consumer any more")
        with pytest.raises(ApiError, match="has not bound"):
            await found.at(path).list(SYNCTARGETS)


async def unbound(found: HubOf, path: str) -> bool:
    assert found.export is not None
    return path not in found.export.consumers


async def test_a_workspace_that_is_made_again_under_its_path_is_another_one(hub: Hub) -> None:
    path = await consumer(hub, "again")
    await offer(hub.at(path), "old")
    async with seeing(hub) as found, targets(found.at(path)) as seen:
        await names(seen, "old")
        await hub.root.delete(WORKSPACES, "again")

        async def gone() -> bool:
            return await if_there(hub.root.get(WORKSPACES, "again")) is None

        await until(gone, "the workspace is gone")
        assert await consumer(hub, "again") == path
        await offer(hub.at(path), "new")
        await names(seen, "new")


async def test_who_follows_later_or_once_more_has_all_of_it(hub: Hub) -> None:
    path = await consumer(hub, "twice")
    await offer(hub.at(path), "east")
    async with seeing(hub) as found:
        async with targets(found.at(path)) as first:
            await names(first, "east")
            async with targets(found.at(path)) as beside:
                await names(beside, "east")
                await offer(hub.at(path), "west")
                await asyncio.gather(names(first, "east", "west"), names(beside, "east", "west"))
        async with targets(found.at(path)) as again:
            await names(again, "east", "west")
