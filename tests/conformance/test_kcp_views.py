"""The view of an export in kcp, its virtual workspace: whose objects it shows, and what may be done by it."""

from typing import Any

import pytest

from shared.hub.resources import WORKSPACES
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.resources import CONFIGMAPS, CRDS, NAMESPACES, Resource
from tests.conformance.api import document, refusal, until, watching
from tests.conformance.backends import KCP
from tests.conformance.exports import BINDINGS, CLAIM, SLICES, THINGS, Tree, bind, offer
from tests.support.kcp import add_workspace
from tests.support.manifests import definition

pytestmark = pytest.mark.parametrize("backend", ["sandbox", KCP], indirect=True)


async def view(tree: Tree) -> Client:
    """The export's virtual workspace, across all consumers."""

    async def endpoint() -> str:
        slices = (await tree.at("provider").list(SLICES)).items
        return next((each["url"] for one in slices for each in (one.get("status") or {}).get("endpoints", ())), "")

    return tree.admin.at(f"{await until(endpoint, 'an endpoint')}/clusters/*")


async def test_the_view_of_an_export_shows_its_consumers_objects_as_they_change(tree: Tree):
    await offer(tree.at("provider"), CLAIM)
    await bind(tree, CLAIM)
    consumer, everywhere = tree.at("consumer"), await view(tree)
    await consumer.create(NAMESPACES, document(NAMESPACES, "here"))
    await consumer.create(THINGS, document(THINGS, "t", "here"))
    page = await everywhere.list(THINGS)
    cluster = (await tree.at().get(WORKSPACES, "consumer"))["spec"]["cluster"]
    assert [each["metadata"]["annotations"]["kcp.io/cluster"] for each in page.items] == [cluster]
    async with watching(everywhere, THINGS, resourceVersion=page.version) as events:
        await consumer.create(THINGS, document(THINGS, "u", "here"))
        assert await events.change() == ("ADDED", "u")


async def test_a_claim_that_was_accepted_opens_that_and_no_more(tree: Tree):
    await offer(tree.at("provider"), CLAIM)
    await bind(tree, CLAIM)
    consumer, everywhere = tree.at("consumer"), await view(tree)
    await consumer.create(NAMESPACES, document(NAMESPACES, "here"))
    await consumer.create(CONFIGMAPS, document(CONFIGMAPS, "mine", "here"))
    names = [each["metadata"]["name"] for each in (await everywhere.list(CONFIGMAPS)).items]
    assert "mine" in names
    secrets = Resource("", "v1", "secrets", kind="Secret")
    assert (await refusal(everywhere.list(secrets))).status in {403, 404}


async def shown(client: Client) -> list[Any]:
    """The ConfigMaps that a view shows; none where it refuses to."""
    try:
        return (await client.list(CONFIGMAPS)).items
    except ApiError as error:
        if error.forbidden or error.not_found:
            return []
        raise


async def test_a_claim_that_was_not_accepted_opens_nothing(tree: Tree):
    await offer(tree.at("provider"), CLAIM)
    await bind(tree)
    consumer, everywhere = tree.at("consumer"), await view(tree)
    await consumer.create(NAMESPACES, document(NAMESPACES, "here"))
    await consumer.create(CONFIGMAPS, document(CONFIGMAPS, "mine", "here"))
    assert await shown(everywhere) == []


async def one_of(tree: Tree, name: str, everywhere: Client) -> Client:
    """A workspace as the view of an export shows it."""
    cluster = (await tree.at().get(WORKSPACES, name))["spec"]["cluster"]
    return everywhere.at(f"{everywhere.base.rpartition('/clusters/')[0]}/clusters/{cluster}")


async def test_a_consumer_is_written_to_by_the_view_under_its_id(tree: Tree):
    await offer(tree.at("provider"), CLAIM)
    await bind(tree, CLAIM)
    consumer, everywhere = tree.at("consumer"), await view(tree)
    await consumer.create(NAMESPACES, document(NAMESPACES, "here"))
    there = await one_of(tree, "consumer", everywhere)
    await there.create(THINGS, document(THINGS, "t", "here", spec={"a": "b"}))
    assert (await consumer.get(THINGS, "t", "here"))["spec"] == {"a": "b"}
    assert (await refusal(there.create(CONFIGMAPS, document(CONFIGMAPS, "c", "here")))).status == 403
    await there.delete(THINGS, "t", "here")
    assert (await refusal(consumer.get(THINGS, "t", "here"))).not_found


async def test_a_view_knows_no_paths_and_nobody_who_has_not_bound_the_export(tree: Tree):
    await offer(tree.at("provider"))
    await bind(tree)
    everywhere = await view(tree)
    before = everywhere.base.rpartition("/clusters/")[0]
    unbound = await one_of(tree, "provider", everywhere)
    assert (await refusal(unbound.list(THINGS))).status == 403
    assert (await refusal(everywhere.at(f"{before}/clusters/nowhere").list(THINGS))).status == 403
    assert (await refusal(everywhere.at(f"{before}/clusters/{tree.path}:consumer").list(THINGS))).status == 403
    host, _, export = before.rpartition("/")
    by_path = f"{host.rpartition('/')[0]}/{tree.path}:provider/{export}"
    assert (await refusal(everywhere.at(f"{by_path}/clusters/*").list(THINGS))).status == 500


async def test_kinds_that_a_workspace_made_itself_are_not_in_the_view(tree: Tree):
    await offer(tree.at("provider"))
    await bind(tree)
    await add_workspace(tree.at(), "forger")
    forger, everywhere = tree.at("forger"), await view(tree)
    made = definition(THINGS.group, THINGS.kind, THINGS.version)
    await forger.create(CRDS, made)
    await until(lambda: listed(forger), "things of its own are served")
    await forger.create(NAMESPACES, document(NAMESPACES, "here"))
    await forger.create(THINGS, document(THINGS, "forged", "here"))
    assert (await everywhere.list(THINGS)).items == []
    assert (await refusal((await one_of(tree, "forger", everywhere)).list(THINGS))).status == 403


async def listed(client: Client) -> bool:
    """Whether things are served by now."""
    try:
        await client.list(THINGS)
    except ApiError as error:
        if not error.not_found:
            raise
        return False
    return True


async def test_an_export_has_an_endpoint_as_long_as_it_has_a_consumer(tree: Tree):
    async def endpoints() -> list[Any]:
        found = await tree.at("provider").get(SLICES, "things")
        return (found.get("status") or {}).get("endpoints") or []

    await offer(tree.at("provider"))
    await until(lambda: sliced(tree.at("provider")), "the export has a slice")
    assert await endpoints() == []
    await bind(tree)
    await until(endpoints, "there is an endpoint")
    await tree.at("consumer").delete(BINDINGS, "things")

    async def gone() -> bool:
        return not await endpoints()

    await until(gone, "the endpoint is gone")


async def sliced(provider: Client) -> bool:
    return [each["metadata"]["name"] for each in (await provider.list(SLICES)).items] == ["things"]
