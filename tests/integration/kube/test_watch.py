"""The informer against a real HTTP server that fails in every way that is scripted."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from shared.hub.resources import PLACEMENTS
from shared.kube.client import Bounds
from shared.kube.errors import ApiError, KubeError, TooLarge
from shared.kube.informer import Informer
from shared.kube.subscription import Change

BOUND = 5.0
PATH = "/apis/placement.moorage.io/v1alpha1/placements"


def placement(name: str, version: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "placement.moorage.io/v1alpha1",
        "kind": "Placement",
        "metadata": {"name": name, "namespace": "shop", "resourceVersion": version},
        "spec": spec,
    }


def listing(version: str, *items: dict[str, Any], more: str = "") -> dict[str, Any]:
    return {"kind": "PlacementList", "metadata": {"resourceVersion": version, "continue": more}, "items": list(items)}


def bookmark(version: str) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": version}}


class Clock:
    """Time that moves when a sleeper or a test says so; remembers what was slept."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def follow(client, clock):
    """Starts an informer on the scripted server, and gives it with its events."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(**options: Any) -> tuple[Informer[Any], AsyncIterator[Change[Any]]]:
            defaults = {"clock": clock, "chance": lambda: 1.0, "sleep": clock.sleep}
            informer = await stack.enter_async_context(Informer(client, PLACEMENTS, **{**defaults, **options}))
            return informer, await stack.enter_async_context(contextlib.aclosing(informer.events()))

        yield start


async def take(events: AsyncIterator[Change[Any]], count: int) -> list[tuple[str, str]]:
    async with asyncio.timeout(BOUND):
        changes = [await anext(events) for _ in range(count)]
    return [(change.kind, change.key[1]) for change in changes]


async def test_lists_in_pages_then_follows_from_the_listed_version(server, reply, follow):
    server.on("GET", PATH, reply(listing("7", placement("a", "1"), more="x")), reply(listing("7", placement("b", "2"))))
    informer, events = await follow(page_size=1, label_selector="app=web", watch_for=300)
    assert await take(events, 3) == [("Added", "a"), ("Added", "b"), ("Synced", "")]
    assert informer.synced.is_set()
    watch = await server.watch()
    assert watch.query == {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": "7",
        "timeoutSeconds": "600",
        "labelSelector": "app=web",
    }
    watch.send("ADDED", placement("c", "8"))
    watch.send("MODIFIED", placement("a", "9", n=1))
    watch.send("DELETED", placement("b", "10"))
    assert await take(events, 3) == [("Added", "c"), ("Modified", "a"), ("Deleted", "b")]
    assert sorted(informer.objects) == [("shop", "a"), ("shop", "c")]
    assert [seen.query.get("limit") for seen in server.seen[:2]] == ["1", "1"]


async def test_a_clean_close_continues_at_once_from_the_last_bookmark(server, reply, follow, clock):
    server.on("GET", PATH, reply(listing("7")))
    _, events = await follow()
    await take(events, 1)
    watch = await server.watch()
    watch.send("BOOKMARK", bookmark("20"))
    watch.end()
    assert (await server.watch()).query["resourceVersion"] == "20"
    assert clock.slept == []


async def test_a_server_that_closes_every_watch_at_once_is_not_asked_in_a_loop(server, reply, follow, clock):
    server.on("GET", PATH, reply(listing("7")))
    await follow()
    for _ in range(4):
        (await server.watch()).end()
    await server.watch()
    assert clock.slept == [0.5, 1.0, 2.0]


async def test_an_expired_version_is_listed_anew_and_only_differences_are_told(server, reply, follow, clock):
    server.on(
        "GET",
        PATH,
        reply(listing("7", placement("a", "1"), placement("b", "2"), placement("c", "3"))),
        reply(listing("50", placement("a", "1"), placement("b", "40"), placement("d", "41"))),
    )
    informer, events = await follow()
    await take(events, 4)
    watch = await server.watch()
    watch.send("ERROR", {"kind": "Status", "apiVersion": "v1", "code": 410, "reason": "Expired", "message": "too old"})
    assert await take(events, 4) == [("Modified", "b"), ("Added", "d"), ("Deleted", "c"), ("Synced", "")]
    assert (await server.watch()).query["resourceVersion"] == "50"
    assert clock.slept == []
    assert informer.error is None


async def test_a_version_that_expires_again_and_again_is_listed_with_back_off(server, reply, follow, clock):
    server.on("GET", PATH, reply(listing("7")))
    gone = {"kind": "Status", "apiVersion": "v1", "code": 410, "reason": "Expired"}
    server.on("WATCH", PATH, reply(gone, 410))
    await follow()
    await server.until(lambda: server.count("GET", PATH, watch="true") >= 5)
    assert clock.slept[:3] == [0.5, 1.0, 2.0]


@pytest.mark.parametrize(
    "bad",
    [
        b'{"type":"ADDED","object":{"metadata":{"na\n',
        b"<html>500 Internal Server Error</html>\n",
        b'{"type":"ADDED","object":[]}\n',
        b'{"type":"ERROR","object":{"kind":"Status","code":500,"message":"etcd"}}\n',
        b'{"type":"ERROR","object":"?"}\n',
        b'{"half a line',
    ],
)
async def test_a_garbled_stream_is_opened_again_from_where_it_was(server, reply, follow, clock, bad):
    server.on("GET", PATH, reply(listing("7")))
    _, events = await follow()
    assert await take(events, 1) == [("Synced", "")]
    watch = await server.watch()
    watch.send("ADDED", placement("a", "8"))
    watch.raw(bad)
    watch.end()
    assert (await server.watch()).query["resourceVersion"] == "8"
    assert clock.slept == [0.25]
    assert await take(events, 1) == [("Added", "a")]
    assert server.count("GET", PATH) == 3  # one list, two watches


async def test_a_dropped_connection_is_opened_again(server, reply, follow):
    server.on("GET", PATH, reply(listing("7")))
    failures: list[Exception] = []
    _, events = await follow(on_error=failures.append)
    watch = await server.watch()
    watch.send("ADDED", placement("a", "8"))
    assert await take(events, 2) == [("Synced", ""), ("Added", "a")]
    watch.drop()
    assert (await server.watch()).query["resourceVersion"] == "8"
    assert [type(error).__name__ for error in failures] == ["Unreachable"]


async def test_a_silent_stream_is_taken_for_dead(server, reply, follow):
    server.on("GET", PATH, reply(listing("7")))
    await follow(idle=0.05)
    silent = await server.watch()
    assert (await server.watch()).query["resourceVersion"] == "7"
    async with asyncio.timeout(BOUND):
        await silent.closed.wait()


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_refusal_counts_from_the_second_time_and_is_then_retried_slowly(server, reply, follow, clock, status):
    server.on("GET", PATH, reply({"kind": "Status", "code": status, "message": "no"}, status))
    failures: list[Exception] = []
    informer, _ = await follow(on_error=failures.append)
    await server.until(lambda: server.count("GET", PATH) >= 4)
    assert clock.slept[:3] == [0.25, 30.0, 30.0]
    assert {error.status for error in failures} == {status}
    assert not informer.synced.is_set()


async def test_retry_after_is_honoured(server, reply, follow, clock):
    busy = reply({"kind": "Status", "code": 429}, 429, {"Retry-After": "7"})
    server.on("GET", PATH, busy, reply(listing("7")))
    informer, _ = await follow()
    await server.watch()
    assert clock.slept == [7.0]
    assert informer.error is None


async def test_a_server_error_that_is_not_json_is_survived(server, reply, follow, clock):
    server.on("GET", PATH, reply(b"<h1>Bad Gateway</h1>", 502), reply(b"{}nonsense"), reply(listing("7")))
    await follow()
    await server.watch()
    assert clock.slept == [0.25, 0.5]


async def test_changes_to_one_object_are_coalesced_for_a_slow_subscriber(server, reply, follow):
    server.on("GET", PATH, reply(listing("7", placement("a", "1"))))
    informer, events = await follow()
    await take(events, 2)
    watch = await server.watch()
    for version in range(8, 20):
        watch.send("MODIFIED", placement("a", str(version), n=version))
    watch.send("ADDED", placement("gone", "20"))
    watch.send("DELETED", placement("gone", "21"))
    watch.send("ADDED", placement("last", "22"))
    async with asyncio.timeout(BOUND):
        observer = informer.events()
        while (await anext(observer)).key[1] != "last":
            pass
        await observer.aclose()
        change = await anext(events)
    assert (change.kind, change.key, change.object["spec"]["n"]) == ("Modified", ("shop", "a"), 19)
    assert change.old is not None
    assert change.old["metadata"]["resourceVersion"] == "1"
    assert await take(events, 1) == [("Added", "last")]


async def test_a_late_subscriber_begins_with_what_is_there(server, reply, follow):
    server.on("GET", PATH, reply(listing("7", placement("a", "1"))))
    informer, events = await follow()
    await take(events, 2)
    async with contextlib.aclosing(informer.events()) as late:
        assert await take(late, 2) == [("Added", "a"), ("Synced", "")]


async def test_decode_projects_and_what_it_refuses_is_left_as_it_was(server, reply, follow, caplog):
    server.on("GET", PATH, reply(listing("7", placement("a", "1", n=1), placement("bad", "2", n="?"))))

    def size(raw: bytes) -> int:
        return int(msgspec.json.decode(raw)["spec"]["n"])

    informer, events = await follow(decode=size)
    assert await take(events, 2) == [("Added", "a"), ("Synced", "")]
    watch = await server.watch()
    watch.send("MODIFIED", placement("a", "8"))
    watch.send("MODIFIED", placement("bad", "9", n=5))
    assert await take(events, 1) == [("Added", "bad")]
    assert informer.objects == {("shop", "a"): 1, ("shop", "bad"): 5}
    assert "shop/a is not usable" in caplog.text


async def test_list_items_of_built_in_kinds_get_their_kind(server, reply, follow):
    bare = {"metadata": {"name": "a", "namespace": "shop", "resourceVersion": "1"}}
    server.on("GET", PATH, reply(listing("7", bare)))
    informer, events = await follow()
    await take(events, 2)
    assert informer.objects["shop", "a"]["kind"] == "Placement"
    assert informer.objects["shop", "a"]["apiVersion"] == "placement.moorage.io/v1alpha1"


async def test_events_end_when_the_informer_is_stopped(server, reply, client):
    server.on("GET", PATH, reply(listing("7")))
    async with Informer(client, PLACEMENTS) as informer:
        events = informer.events()
        assert await take(events, 1) == [("Synced", "")]
        watch = await server.watch()
    async with asyncio.timeout(BOUND):
        assert [change async for change in events] == []
        assert [change.kind async for change in informer.events()] == ["Synced"]
        await watch.closed.wait()


async def test_a_bug_in_decode_ends_the_informer_loudly(server, reply, client):
    server.on("GET", PATH, reply(listing("7", placement("a", "1"))))

    def broken(_: bytes) -> int:
        raise RuntimeError("a bug")

    informer = Informer(client, PLACEMENTS, decode=broken)
    with pytest.raises(RuntimeError, match="a bug"):
        await asyncio.wait_for(informer.run(), BOUND)
    assert [change async for change in informer.events()] == []
    with pytest.raises(RuntimeError, match="a bug"):
        async with informer:
            await asyncio.wait([informer._task], timeout=BOUND)


async def test_what_on_error_raises_comes_out_of_the_informer_as_it_is(server, reply, client):
    server.on("GET", PATH, reply(listing("7")))
    server.on("WATCH", PATH, reply({"kind": "Status", "code": 401, "message": "no"}, 401))

    def give_up(error: KubeError) -> None:
        raise error

    async with asyncio.timeout(BOUND):
        with pytest.raises(ApiError, match="401"):
            async with Informer(client, PLACEMENTS, on_error=give_up) as informer:
                assert [change.kind async for change in informer.events()] == ["Synced"]


async def test_a_list_beyond_the_limit_is_not_taken(server, reply, follow):
    server.on("GET", PATH, reply(listing("7", *(placement(name, "1") for name in "abc"), more="for ever")))
    failures: list[Exception] = []
    informer, _ = await follow(limit=Bounds(objects=7, bytes=1 << 20), on_error=failures.append)
    await server.until(lambda: failures)
    assert isinstance(failures[0], TooLarge)
    assert server.count("GET", PATH) >= 3
    assert not informer.synced.is_set()


async def test_a_watch_beyond_the_limit_is_not_taken(server, reply, follow):
    server.on("GET", PATH, reply(listing("7", placement("a", "1"))))
    failures: list[Exception] = []
    informer, events = await follow(limit=Bounds(objects=2, bytes=1 << 20), on_error=failures.append)
    await take(events, 2)
    watch = await server.watch()
    for name in "bc":
        watch.send("ADDED", placement(name, "8"))
    await server.until(lambda: failures)
    assert isinstance(failures[0], TooLarge)
    assert {name for _, name in informer.objects} == {"a", "b"}


async def test_an_event_of_a_mebibyte_arrives_whole(server, reply, follow):
    server.on("GET", PATH, reply(listing("7")))
    informer, events = await follow()
    watch = await server.watch()
    large = json.dumps({"type": "ADDED", "object": placement("a", "8", text="x" * (1 << 20))}).encode() + b"\n"
    for start in range(0, len(large), 100_000):
        watch.raw(large[start : start + 100_000])
    assert await take(events, 2) == [("Synced", ""), ("Added", "a")]
    assert len(informer.objects["shop", "a"]["spec"]["text"]) == 1 << 20


async def test_what_settled_begins_its_back_off_anew(server, reply, follow, clock):
    server.on("GET", PATH, reply(listing("7")))
    await follow()
    for lived in (0, 0, 60, 0):
        watch = await server.watch()
        clock.now += lived
        watch.drop()
    await server.watch()
    assert clock.slept == [0.25, 0.5, 0.25, 0.5]
