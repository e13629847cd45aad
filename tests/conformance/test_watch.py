"""Watches: order, selectors, replay, bookmarks, timeouts, and versions that are too old."""

import time

import msgspec
import pytest

from shared.kube.resources import CONFIGMAPS
from tests.conformance.api import Api, refusal, watching
from tests.conformance.widgets import WIDGETS, widget


async def version(api: Api, resource=CONFIGMAPS) -> str:
    return (await api.admin.list(resource, api.namespace)).version


async def change(api: Api, name: str, **metadata) -> dict:
    return await api.admin.merge_patch(CONFIGMAPS, name, {"metadata": metadata}, api.namespace)


async def test_changes_arrive_in_order_with_their_objects(api: Api):
    async with watching(api.admin, CONFIGMAPS, api.namespace, resourceVersion=await version(api)) as events:
        (made,) = await api.make("a")
        changed = await change(api, "a", labels={"x": "y"})
        await api.admin.delete(CONFIGMAPS, "a", api.namespace)
        assert await events.next() == ("ADDED", made)
        assert await events.next() == ("MODIFIED", changed)
        kind, last = await events.next()
    assert (kind, last["metadata"]["labels"]) == ("DELETED", {"x": "y"})
    assert last["metadata"]["resourceVersion"] != changed["metadata"]["resourceVersion"]


async def test_a_watch_without_a_version_begins_with_what_is_there(api: Api):
    for name in ("b", "a"):
        await api.admin.create(WIDGETS, widget(name, api.namespace))
    async with watching(api.admin, WIDGETS, api.namespace) as events:
        assert sorted([await events.change(), await events.change()]) == [("ADDED", "a"), ("ADDED", "b")]
        await api.admin.create(WIDGETS, widget("c", api.namespace))
        assert await events.change() == ("ADDED", "c")


async def test_a_watch_from_an_earlier_version_replays_what_followed(api: Api):
    before = await version(api)
    await api.make("a")
    middle = (await change(api, "a", labels={"x": "1"}))["metadata"]["resourceVersion"]
    await change(api, "a", labels={"x": "2"})
    await api.admin.delete(CONFIGMAPS, "a", api.namespace)
    async with watching(api.admin, CONFIGMAPS, api.namespace, resourceVersion=before) as events:
        assert [(await events.change())[0] for _ in range(4)] == ["ADDED", "MODIFIED", "MODIFIED", "DELETED"]
    async with watching(api.admin, CONFIGMAPS, api.namespace, resourceVersion=middle) as events:
        assert [(await events.change())[0] for _ in range(2)] == ["MODIFIED", "DELETED"]


async def test_what_does_not_change_is_no_event(api: Api):
    (made,) = await api.make("a", labels={"x": "y"})
    start = made["metadata"]["resourceVersion"]
    async with watching(api.admin, CONFIGMAPS, api.namespace, resourceVersion=start) as events:
        await change(api, "a", labels={"x": "y"})
        await api.admin.replace(CONFIGMAPS, made)
        await api.make("b")
        assert await events.change() == ("ADDED", "b")


async def test_through_a_label_selector_objects_enter_and_leave(api: Api):
    await api.make("a")
    params = {"labelSelector": "watched=yes", "resourceVersion": await version(api)}
    async with watching(api.admin, CONFIGMAPS, api.namespace, **params) as events:
        await change(api, "a", labels={"watched": "yes"})
        await change(api, "a", annotations={"n": "1"})
        left = await change(api, "a", labels={"watched": "no"})
        await change(api, "a", annotations={"n": "2"})
        await change(api, "a", labels={"watched": "yes"})
        await api.admin.delete(CONFIGMAPS, "a", api.namespace)
        found = [await events.next() for _ in range(5)]
    assert [kind for kind, _ in found] == ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"]
    gone = found[2][1]["metadata"]
    assert gone["labels"] == {"watched": "yes"}  # as it was while it was in sight
    assert gone["resourceVersion"] == left["metadata"]["resourceVersion"]


async def test_one_object_can_be_watched_by_its_name(api: Api):
    params = {"fieldSelector": "metadata.name=b", "resourceVersion": await version(api)}
    async with watching(api.admin, CONFIGMAPS, api.namespace, **params) as events:
        await api.make("a", "b")
        assert await events.change() == ("ADDED", "b")


async def test_a_watch_sees_its_namespace_alone_or_all(api: Api):
    start = await version(api)
    await api.make("mine", labels={"case": api.namespace})
    async with watching(api.admin, CONFIGMAPS, "default", resourceVersion=start, timeoutSeconds=1) as elsewhere:
        assert "mine" not in [found["metadata"].get("name") for _, found in await elsewhere.rest()]
    selector = f"case={api.namespace}"
    async with watching(api.admin, CONFIGMAPS, resourceVersion=start, labelSelector=selector) as everywhere:
        assert await everywhere.change() == ("ADDED", "mine")


async def test_a_watch_ends_cleanly_when_its_time_is_over(api: Api):
    started = time.monotonic()
    async with watching(
        api.admin, CONFIGMAPS, api.namespace, resourceVersion=await version(api), timeoutSeconds=2
    ) as events:
        assert await events.rest() == []
    assert 1.5 < time.monotonic() - started < 10


async def test_a_bookmark_before_the_end_says_how_far_the_watch_came(api: Api):
    params = {"resourceVersion": await version(api), "allowWatchBookmarks": True, "timeoutSeconds": 4}
    async with watching(api.admin, CONFIGMAPS, api.namespace, **params) as events:
        (made,) = await api.make("a")
        found = await events.rest()
    assert [kind for kind, _ in found][:2] == ["ADDED", "BOOKMARK"]
    mark = found[-1][1]
    assert (mark["kind"], mark["apiVersion"]) == ("ConfigMap", "v1")
    assert int(mark["metadata"]["resourceVersion"]) >= int(made["metadata"]["resourceVersion"])
    assert not mark["metadata"].get("name")
    async with watching(
        api.admin, CONFIGMAPS, api.namespace, resourceVersion=mark["metadata"]["resourceVersion"]
    ) as events:
        await api.make("b")
        assert await events.change() == ("ADDED", "b")


async def test_without_asking_there_are_no_bookmarks(api: Api):
    params = {"resourceVersion": await version(api), "timeoutSeconds": 4}
    async with watching(api.admin, CONFIGMAPS, api.namespace, **params) as events:
        assert await events.rest() == []


async def test_a_watch_can_begin_with_a_list_whose_end_is_marked(api: Api):
    for name in ("a", "b"):
        await api.admin.create(WIDGETS, widget(name, api.namespace))
    params = {"sendInitialEvents": True, "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": True}
    async with watching(api.admin, WIDGETS, api.namespace, **params) as events:
        found = [await events.next() for _ in range(3)]
    assert [(kind, each["metadata"].get("name")) for kind, each in found[:2]] == [("ADDED", "a"), ("ADDED", "b")]
    kind, mark = found[2]
    assert (kind, mark["metadata"]["annotations"]) == ("BOOKMARK", {"k8s.io/initial-events-end": "true"})


async def test_a_version_that_is_too_old_is_gone(api: Api):
    async with watching(api.admin, WIDGETS, api.namespace, resourceVersion="1") as events:
        kind, status = await events.next()
        assert await events.rest() == []
    assert kind == "ERROR"
    assert (status["kind"], status["code"], status["reason"]) == ("Status", 410, "Expired")
    assert "too old resource version" in status["message"]


async def test_what_is_no_version_is_refused(api: Api):
    error = await refusal(
        api.admin.request("GET", CONFIGMAPS.path(api.namespace), params={"watch": True, "resourceVersion": "latest"})
    )
    assert error.status in {400, 500}  # a real server takes it for a fault of its own


async def test_a_selector_that_cannot_be_read_is_refused_before_the_watch_begins(api: Api):
    error = await refusal(
        api.admin.request("GET", CONFIGMAPS.path(api.namespace), params={"watch": True, "labelSelector": "a in"})
    )
    assert error.status == 400


async def test_a_watch_shows_objects_in_the_version_that_is_asked_for(api: Api):
    from tests.conformance.widgets import OLD_WIDGETS

    async with watching(api.admin, OLD_WIDGETS, api.namespace, resourceVersion=await version(api, WIDGETS)) as events:
        await api.admin.create(WIDGETS, widget("a", api.namespace))
        kind, found = await events.next()
    assert (kind, found["apiVersion"]) == ("ADDED", OLD_WIDGETS.api_version)


async def test_a_watch_as_tables_carries_rows(api: Api):
    start = await version(api, WIDGETS)
    params = {"watch": True, "resourceVersion": start, "timeoutSeconds": 2}
    await api.admin.create(WIDGETS, widget("a", api.namespace))
    raw = await api.admin.request(
        "GET", WIDGETS.path(api.namespace), params=params, accept="application/json;as=Table;v=v1;g=meta.k8s.io"
    )
    (event,) = [msgspec.json.decode(line) for line in raw.splitlines()]
    assert (event["type"], event["object"]["kind"]) == ("ADDED", "Table")
    assert [row["cells"][0] for row in event["object"]["rows"]] == ["a"]


@pytest.mark.parametrize("count", [50])
async def test_many_changes_are_all_seen_once(api: Api, count):
    async with watching(api.admin, CONFIGMAPS, api.namespace, resourceVersion=await version(api)) as events:
        await api.make(*(f"m{number:02}" for number in range(count)))
        found = [await events.change() for _ in range(count)]
    assert found == [("ADDED", f"m{number:02}") for number in range(count)]
