"""Our own client's longer walks against each server: pages, and the informer that everything in Moorage follows."""

import asyncio

from services.discovery.serving import QUIET
from shared.kube.apis import discover
from shared.kube.changes import ChangeWatch
from shared.kube.informer import Informer
from shared.kube.resources import CONFIGMAPS, CRDS
from tests.conformance.api import Api
from tests.conformance.widgets import WIDGETS, widget
from tests.support import manifests

NAMES = [f"w{number}" for number in range(7)]


async def test_pages_hold_every_object_once(api: Api):
    for name in NAMES:
        await api.admin.create(WIDGETS, widget(name, api.namespace))
    pages = [page async for page in api.admin.pages(WIDGETS, api.namespace, limit=3)]
    assert [len(page.items) for page in pages] == [3, 3, 1]
    assert [each["metadata"]["name"] for page in pages for each in page.items] == NAMES
    assert len({page.version for page in pages}) == 1


async def test_an_informer_has_what_is_there_and_follows_what_happens(api: Api):
    await api.make("a", "b", labels={"followed": "yes"})
    informer = Informer(api.admin, CONFIGMAPS, namespace=api.namespace, label_selector="followed=yes", page_size=1)
    async with informer, asyncio.timeout(30):
        events = informer.events()
        first = [await anext(events) for _ in range(2)]
        assert [(change.kind, change.key[1]) for change in first] == [("Added", "a"), ("Added", "b")]
        assert (await anext(events)).kind == "Synced"
        await api.admin.merge_patch(CONFIGMAPS, "a", {"data": {"k": "v"}}, api.namespace)
        changed = await anext(events)
        assert (changed.kind, changed.object["data"]) == ("Modified", {"k": "v"})
        assert not changed.old.get("data")
        await api.admin.merge_patch(CONFIGMAPS, "a", {"metadata": {"labels": {"followed": "no"}}}, api.namespace)
        assert ((left := await anext(events)).kind, left.key[1]) == ("Deleted", "a")
        await api.admin.delete(CONFIGMAPS, "b", api.namespace)
        assert ((gone := await anext(events)).kind, gone.key[1]) == ("Deleted", "b")
        assert informer.objects == {}
        await events.aclose()


async def test_an_informer_outlives_the_watches_that_its_server_ends(api: Api):
    before = asyncio.get_running_loop().time()
    informer = Informer(
        api.admin, CONFIGMAPS, namespace=api.namespace, label_selector="followed=yes", watch_for=1, chance=lambda: 0.0
    )
    async with informer, asyncio.timeout(60):
        await informer.synced.wait()
        events = informer.events()
        number = 0
        while asyncio.get_running_loop().time() < before + 3:  # each watch lasts a second
            await api.make(f"m{number:04}", labels={"followed": "yes"})
            number += 1
            while True:
                change = await anext(events)
                if change.kind == "Added" and change.key[1] == f"m{number - 1:04}":
                    break
        assert len(informer.objects) == number
        await events.aclose()


async def test_a_watch_of_definitions_alone_tells_of_a_kind_once_it_can_be_discovered(api: Api):
    """What discovery of targets goes by: some hundredths of a second after the last event, the kind is there."""
    news, definition = asyncio.Event(), manifests.definition(f"{api.namespace}.example.com", "Gadget")
    found = False
    async with ChangeWatch(api.admin, CRDS, news, refused=5.0) as watch, asyncio.timeout(30):
        await watch.synced.wait()
        news.clear()
        await api.admin.create(CRDS, definition)
        while not found:
            await news.wait()
            news.clear()
            await asyncio.sleep(QUIET)
            served = (await discover(api.admin)).kinds
            found = any((each.group, each.kind) == (definition["spec"]["group"], "Gadget") for each in served)
            assert found or news.is_set()
    await api.admin.delete(CRDS, definition["metadata"]["name"])
