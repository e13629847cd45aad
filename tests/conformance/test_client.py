"""Our own client's longer walks against each server: pages, and the informer that everything in Moorage follows."""

import asyncio

from shared.kube.informer import Informer
from shared.kube.resources import CONFIGMAPS
from tests.conformance.api import Api
from tests.conformance.widgets import WIDGETS, widget

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
