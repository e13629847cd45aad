"""Who has bound the export, and what they have of our kinds, over several shards that come and go."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.cli.hub.kcp import binding, provider
from services.cli.hub.objects import KINDS
from services.sandbox.run import Ready, serve
from services.sandbox.world.world import World
from shared.api import GROUP, SyncTarget, decode_synctarget
from shared.hub.export import Export, endpoint_of, export_of, follow
from shared.hub.hub import Hub
from shared.hub.resources import APIBINDINGS, ENDPOINTS, SYNCTARGETS, WORKSPACES
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.errors import ApiError, Unreachable
from shared.kube.informer import Informer
from tests.support.manifests import obj
from tests.support.waiting import until

HOME = "root:moorage"


class Shards:
    """A hub whose workspaces are on the shards `root` and `blue`."""

    def __init__(self, ready: Ready, client: Client) -> None:
        self.ready = ready
        self.client = client

    def at(self, path: str) -> Client:
        return self.client.cluster(path)

    async def workspace(self, name: str, shard: str) -> str:
        """Make a workspace on a shard."""
        spec = {"location": {"selector": {"matchLabels": {"name": shard}}}}
        await self.at("root").create(
            WORKSPACES, obj("Workspace", WORKSPACES.api_version, name=name, namespace="", spec=spec)
        )
        return f"root:{name}"

    async def consumer(self, name: str, shard: str) -> str:
        """Make one that has bound the export."""
        path = await self.workspace(name, shard)
        await self.at(path).create(APIBINDINGS, binding(HOME, ()))
        return path

    async def offer(self, path: str, name: str) -> None:
        body = obj("SyncTarget", SYNCTARGETS.api_version, name=name, namespace="", spec={"agent": {}})
        await self.at(path).create(SYNCTARGETS, body)

    def lose(self, shard: str, *, back: bool = False) -> None:
        """Have a shard answer nothing, or answer again."""
        self.ready.sandbox.set_available(f"shard:{shard}", back)

    @asynccontextmanager
    async def seen(self) -> AsyncIterator[tuple[Hub, Export]]:
        """The hub as workers see it."""
        async with Export(self.client, HOME, GROUP) as export:
            yield Hub(self.client, "kcp", export), export


@pytest.fixture
async def shards(tmp_path: Path) -> AsyncIterator[Shards]:
    world = World(workspaces=[], serves=[], shards=["blue"])
    async with (
        serve(world, "127.0.0.1", 0, tmp_path, tls=False) as ready,
        Client(load_kubeconfig(ready.kubeconfigs["admin"]), timeout=5.0) as client,
    ):
        found = Shards(ready, client)
        await found.workspace("moorage", "root")
        for each in provider({}, admission=False):
            await found.at(HOME).create(KINDS[each["kind"]], each)
        yield found


def targets(hub: Hub, path: str) -> Informer[SyncTarget]:
    return follow(hub.at(path), SYNCTARGETS, decode=decode_synctarget)


async def names(informer: Informer[SyncTarget], *wanted: str) -> None:
    async def there() -> bool:
        return informer.synced.is_set() and {name for _, name in informer.objects} == set(wanted)

    await until(there, f"{wanted} are seen", within=60)


async def consumers(export: Export, *paths: str) -> None:
    async def known() -> bool:
        return export.whole and set(export.consumers) == set(paths)

    await until(known, f"{paths} have bound it", within=60)


async def test_consumers_on_every_shard_are_followed_each_with_what_is_its_own(shards: Shards) -> None:
    one, two = await shards.consumer("one", "root"), await shards.consumer("two", "blue")
    await shards.offer(one, "east")
    async with shards.seen() as (hub, export), targets(hub, one) as ones, targets(hub, two) as twos:
        await consumers(export, one, two)
        assert len({each.endpoint for each in export.consumers.values()}) == 2
        await names(ones, "east")
        await names(twos)
        await shards.offer(two, "east")
        await names(twos, "east")
        for path in (one, two):
            await hub.at(path).merge_patch(
                SYNCTARGETS, "east", {"metadata": {"labels": {"of": path.replace(":", ".")}}}
            )
            found = await hub.at(path).get(SYNCTARGETS, "east")
            assert found["metadata"]["labels"] == {"of": path.replace(":", ".")}


async def test_a_shard_that_is_lost_holds_up_its_own_consumers_and_takes_nothing_away(shards: Shards) -> None:
    one, two = await shards.consumer("one", "root"), await shards.consumer("two", "blue")
    for path in (one, two):
        await shards.offer(path, "east")
    async with shards.seen() as (hub, export), targets(hub, one) as ones, targets(hub, two) as twos:
        await names(ones, "east")
        await names(twos, "east")
        shards.lose("blue")
        await until(failing(twos), "it is noticed", within=60)
        with pytest.raises(ApiError) as error:
            await hub.at(two).get(SYNCTARGETS, "east")
        assert error.value.transient
        await shards.offer(one, "west")
        await names(ones, "east", "west")
        assert set(export.consumers) == {one, two}
        assert list(twos.objects) == [("", "east")]
        shards.lose("blue", back=True)
        await shards.offer(two, "west")
        await names(twos, "east", "west")
        assert twos.error is None


def failing(informer: Informer[SyncTarget]):
    async def failed() -> bool:
        return informer.error is not None

    return failed


async def test_nobody_is_said_to_have_bound_nothing_while_a_shard_does_not_answer(shards: Shards) -> None:
    one, two = await shards.consumer("one", "root"), await shards.consumer("two", "blue")
    shards.lose("blue")
    async with shards.seen() as (hub, export), targets(hub, two) as twos:
        await until(bound(export, one), "one is known", within=60)
        with pytest.raises(Unreachable, match="not known yet"):
            await hub.at(two).get(SYNCTARGETS, "east")
        assert not export.whole
        shards.lose("blue", back=True)
        await consumers(export, one, two)
        await names(twos)


def bound(export: Export, path: str):
    async def known() -> bool:
        return path in export.consumers

    return known


async def test_an_endpoint_goes_with_its_last_consumer_and_comes_with_the_next(shards: Shards) -> None:
    one, two = await shards.consumer("one", "root"), await shards.consumer("two", "blue")
    async with shards.seen() as (hub, export), targets(hub, two) as twos:
        await shards.offer(two, "east")
        await names(twos, "east")
        await shards.at(two).delete(SYNCTARGETS, "east")
        await names(twos)
        await shards.at(two).delete(APIBINDINGS, GROUP)
        await consumers(export, one)
        with pytest.raises(ApiError, match="has not bound") as refused:
            await hub.at(two).get(SYNCTARGETS, "east")
        assert refused.value.not_found
        assert not refused.value.absent("east")
        (slice_,) = (await shards.at(HOME).list(ENDPOINTS)).items
        assert len(slice_["status"]["endpoints"]) == 1
        await shards.at(two).create(APIBINDINGS, binding(HOME, ()))
        await consumers(export, one, two)
        await shards.offer(two, "west")
        await names(twos, "west")


async def test_a_client_goes_to_the_export_for_our_kinds_alone(shards: Shards) -> None:
    one = await shards.consumer("one", "root")
    async with shards.seen() as (hub, export):
        await consumers(export, one)
        client, base = hub.at(one), shards.client.base.rpartition("/clusters/")[0]
        assert client.route is not None
        consumer = export.consumers[one]
        ours = SYNCTARGETS.path(name="east")
        assert client.route.base("GET", ours) == f"{consumer.endpoint}/clusters/{consumer.cluster}"
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert client.route.base(method, ours) == f"{base}/clusters/{consumer.cluster}"
        for other in (
            "/api/v1/secrets",
            "/apis",
            f"/apis/{GROUP}",
            f"/apis/{GROUP}/v1alpha1",
            "/apis/apps/v1/deployments",
        ):
            assert client.route.base("GET", other) == ""
        assert client.cluster("root:other").route is None, "that would be another workspace's"
        assert client.acting_as.__self__.route is client.route


@pytest.mark.parametrize(
    ("setting", "found"),
    [
        ("root:moorage/placement.moorage.io", ("root:moorage", "placement.moorage.io")),
        ("root/ours", ("root", "ours")),
        ("placement.moorage.io", None),
        ("root:moorage/", None),
        ("root:moorage/a/b", None),
        ("root:Moorage/ours", None),
        ("/ours", None),
    ],
)
def test_a_setting_names_the_export_by_workspace_and_name(setting: str, found: tuple[str, str] | None) -> None:
    if found is not None:
        assert export_of(setting) == found
        return
    with pytest.raises(ValueError, match=r"export|workspace"):
        export_of(setting)


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("https://a:6443/services/apiexport/1x/ours", True),
        ("https://a/vw/services/apiexport/1x/ours/", True),
        ("http://a/services/apiexport/1x/ours", False),
        ("https://a/services/apiexport/1x/others", False),
        ("https://me@a/services/apiexport/1x/ours", False),
        ("https://a/services/apiexport/1x/ours?to=b", False),
        ("ftp://a/services/apiexport/1x/ours", False),
        ("", False),
    ],
)
def test_our_token_goes_to_endpoints_of_the_export_alone(url: str, taken: bool) -> None:
    assert endpoint_of(url, "ours", "https://hub:6443") == (url.rstrip("/") if taken else "")
