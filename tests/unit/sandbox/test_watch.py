"""List and watch: selectors, versions, pages, bookmarks, expiry."""

import pytest

from services.sandbox.sandbox import Sandbox
from services.sandbox.state.store import Store

CONFIGS = "/api/v1/namespaces/default/configmaps"


def config(name, **labels):
    return {"metadata": {"name": name, "labels": labels}}


async def make(api, *names, **labels):
    return [await api("POST", CONFIGS, config(name, **labels), expect=201) for name in names]


async def test_a_list_is_sorted_and_carries_a_version(hub):
    await make(hub, "b", "a", "c")
    found = await hub("GET", CONFIGS)
    assert found["kind"] == "ConfigMapList"
    assert [item["metadata"]["name"] for item in found["items"]] == ["a", "b", "c"]
    assert found["metadata"]["resourceVersion"] == found["items"][2]["metadata"]["resourceVersion"]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"labelSelector": "app=shop"}, ["one", "two"]),
        ({"labelSelector": "app==shop,tier!=front"}, ["two"]),
        ({"labelSelector": "app in (shop, other)"}, ["one", "two"]),
        ({"labelSelector": "app notin (shop)"}, ["three"]),
        ({"labelSelector": "!app"}, ["three"]),
        ({"labelSelector": "tier"}, ["one", "two"]),
        ({"fieldSelector": "metadata.name=one"}, ["one"]),
        ({"fieldSelector": "metadata.name!=one,metadata.namespace=default"}, ["three", "two"]),
    ],
)
async def test_selectors(hub, query, names):
    await hub("POST", CONFIGS, config("one", app="shop", tier="front"), expect=201)
    await hub("POST", CONFIGS, config("two", app="shop", tier="back"), expect=201)
    await hub("POST", CONFIGS, config("three"), expect=201)
    found = await hub("GET", CONFIGS, **query)
    assert [item["metadata"]["name"] for item in found["items"]] == names


@pytest.mark.parametrize(
    "query",
    [
        {"labelSelector": "a=b=c"},
        {"labelSelector": "a in"},
        {"labelSelector": "(" * 5000},
        {"labelSelector": "a," * 20000},
        {"fieldSelector": "nonsense"},
        {"limit": "many"},
        {"continue_": "%%%"},
        {"continue_": "bm9uc2Vuc2U="},
        {"watch": "1", "resourceVersion": "abc"},
    ],
)
async def test_absurd_queries_are_bad_requests(hub, query):
    assert (await hub("GET", CONFIGS, expect=400, **query))["reason"] == "BadRequest"


async def test_pages_show_one_version_even_while_objects_change(hub):
    await make(hub, "a", "b", "c", "d")
    first = await hub("GET", CONFIGS, limit=2)
    assert first["metadata"]["remainingItemCount"] == 2
    await hub("DELETE", f"{CONFIGS}/d")
    await make(hub, "bb")
    second = await hub("GET", CONFIGS, limit=2, continue_=first["metadata"]["continue"])
    assert [item["metadata"]["name"] for item in second["items"]] == ["c", "d"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert "continue" not in second["metadata"]


async def test_a_page_whose_version_is_forgotten_is_gone(hub):
    hub.sandbox.store._pages = 1
    await make(hub, "a", "b")
    first = await hub("GET", CONFIGS, limit=1)
    await make(hub, "c")
    await hub("GET", "/api/v1/namespaces", limit=1)
    status = await hub("GET", CONFIGS, limit=1, continue_=first["metadata"]["continue"], expect=410)
    assert status["reason"] == "Expired"


async def test_a_watch_from_a_version_replays_and_follows(hub):
    version = (await hub("GET", CONFIGS))["metadata"]["resourceVersion"]
    await make(hub, "a")
    events = await hub.watch(CONFIGS, resourceVersion=version)
    assert await events.names(1) == [("ADDED", "a")]
    await hub.patch(f"{CONFIGS}/a", {"data": {"x": "y"}})
    deleted = await hub("DELETE", f"{CONFIGS}/a")
    assert deleted["status"] == "Success"
    assert await events.names(2) == [("MODIFIED", "a"), ("DELETED", "a")]
    await events.close()


async def test_a_watch_from_no_version_begins_with_what_is_there(hub):
    await make(hub, "a", "b")
    events = await hub.watch(CONFIGS)
    assert await events.names(2) == [("ADDED", "a"), ("ADDED", "b")]
    await events.close()


async def test_send_initial_events_ends_with_a_marked_bookmark(hub):
    await make(hub, "a")
    events = await hub.watch(CONFIGS, sendInitialEvents="true", allowWatchBookmarks="true")
    assert (await events.next())[0] == "ADDED"
    kind, bookmark = await events.next()
    assert kind == "BOOKMARK"
    assert bookmark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    await events.close()


async def test_entering_a_selector_is_added_and_leaving_it_is_deleted(hub):
    version = (await hub("GET", CONFIGS))["metadata"]["resourceVersion"]
    events = await hub.watch(CONFIGS, resourceVersion=version, labelSelector="app=shop")
    await make(hub, "a")
    await hub.patch(f"{CONFIGS}/a", {"metadata": {"labels": {"app": "shop"}}})
    await hub.patch(f"{CONFIGS}/a", {"data": {"x": "y"}})
    await hub.patch(f"{CONFIGS}/a", {"metadata": {"labels": {"app": None}}})
    assert await events.names(3) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
    await events.close()


async def test_a_watch_sees_its_namespace_alone(hub):
    version = (await hub("GET", CONFIGS))["metadata"]["resourceVersion"]
    await hub("POST", "/api/v1/namespaces", {"metadata": {"name": "other"}}, expect=201)
    events = await hub.watch(CONFIGS, resourceVersion=version)
    await hub("POST", "/api/v1/namespaces/other/configmaps", config("elsewhere"), expect=201)
    await make(hub, "here")
    assert await events.names(1) == [("ADDED", "here")]
    await events.close()


async def test_a_watch_ends_at_its_timeout_with_a_bookmark(hub):
    version = (await hub("GET", CONFIGS))["metadata"]["resourceVersion"]
    events = await hub.watch(CONFIGS, resourceVersion=version, timeoutSeconds=1, allowWatchBookmarks="true")
    kind, bookmark = await events.next()
    assert (kind, bookmark["metadata"]["resourceVersion"]) == ("BOOKMARK", version)
    with pytest.raises(StopAsyncIteration):
        await events.next()


@pytest.mark.parametrize("version", ["1", "99999999999999999"])
async def test_a_watch_from_a_version_of_another_time_is_expired(hub, version):
    events = await hub.watch(CONFIGS, resourceVersion=version)
    kind, status = await events.next()
    assert (kind, status["code"], status["reason"]) == ("ERROR", 410, "Expired")


async def test_a_watch_from_before_the_replay_log_is_expired():
    sandbox = Sandbox()
    sandbox.store._replay = 3
    first = sandbox.store.revision
    for name in "abcde":
        body = {"metadata": {"name": name}}
        at = sandbox.address("root", "v1", "configmaps", "default")
        sandbox.registry.create(at, body, sandbox.system_write())
    with pytest.raises(Exception, match="too old resource version"):
        sandbox.store.watch("root", ["configmaps"], since=first)
    assert sandbox.store.watch("root", ["configmaps"], since=sandbox.store.revision - 3)


async def test_a_slow_watcher_is_cut_off_with_expired(hub):
    hub.sandbox.store._queue = 2
    version = (await hub("GET", CONFIGS))["metadata"]["resourceVersion"]
    await make(hub, "a")
    events = await hub.watch(CONFIGS, resourceVersion=version)
    assert await events.names(1) == [("ADDED", "a")]
    await make(hub, "b", "c", "d")
    kind, status = await events.next()
    assert (kind, status["code"]) == ("ERROR", 410)
    with pytest.raises(StopAsyncIteration):
        await events.next()


async def test_an_abandoned_watch_leaves_nothing_behind(hub):
    events = await hub.watch(CONFIGS)
    await make(hub, "a")
    await events.next()
    assert hub.sandbox.store._watchers
    await events.close()
    assert not hub.sandbox.store._watchers


def test_an_empty_store_lists_nothing():
    store = Store()
    assert store.entries("root", "configmaps") == []
    assert list(store.contents("root")) == []
