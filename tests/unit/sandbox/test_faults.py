"""Faults on demand: what fails, for whom, how often, and that it can be repeated."""

import asyncio
import json

import pytest

from services.sandbox.errors import ApiError
from services.sandbox.wire.faults import Call, CutError, Fault, Faults

CONFIGS = "/api/v1/namespaces/default/configmaps"
FAULTS = "/sandbox/faults"


@pytest.fixture
def control(hub):
    """The sandbox's own API."""
    return hub.at("")


@pytest.mark.parametrize(
    ("kind", "code", "reason", "header"),
    [
        ("403", 403, "Forbidden", ""),
        ("409", 409, "Conflict", ""),
        ("429", 429, "TooManyRequests", "7"),
        ("500", 500, "InternalError", ""),
        ("503", 503, "ServiceUnavailable", "7"),
        ("unavailable", 503, "ServiceUnavailable", "7"),
        ("expired-token", 401, "Unauthorized", ""),
        ("lag", 404, "NotFound", ""),
    ],
)
async def test_a_refusal_is_a_status_and_leaves_no_trace(hub, control, kind, code, reason, header):
    made = await control("POST", FAULTS, {"kind": kind, "verb": "create", "seconds": 7}, expect=201)
    response = await hub.raw("POST", CONFIGS, {"metadata": {"name": "one"}})
    status = json.loads(response.body)
    assert (response.status, status["code"], status["reason"]) == (code, code, reason)
    assert response.headers.get("retry-after", "") == header
    assert (await control("GET", f"{FAULTS}/{made['id']}"))["hits"] == 1
    assert (await hub("GET", CONFIGS))["items"] == []
    await control("DELETE", f"{FAULTS}/{made['id']}")
    await hub("POST", CONFIGS, {"metadata": {"name": "one"}}, expect=201)


@pytest.mark.parametrize(
    ("fault", "hit"),
    [
        ({}, True),
        ({"cluster": "root"}, True),
        ({"cluster": "r*"}, True),
        ({"cluster": "target:*"}, False),
        ({"verb": "list"}, True),
        ({"verb": "get"}, False),
        ({"resource": "configmaps"}, True),
        ({"resource": "*.apps"}, False),
        ({"cluster": "root", "verb": "watch", "resource": "configmaps"}, False),
    ],
)
async def test_a_fault_hits_what_it_names(hub, control, fault, hit):
    await control("POST", FAULTS, {"kind": "500", **fault}, expect=201)
    await hub("GET", CONFIGS, expect=500 if hit else 200)


@pytest.mark.parametrize("path", ["/apis", "/readyz", "/version"])
async def test_an_unavailable_cluster_answers_nothing_and_drops_its_watches(hub, target, control, path):
    await target("POST", CONFIGS, {"metadata": {"name": "one"}}, expect=201)
    events = await target.watch(CONFIGS)
    assert await events.names(1) == [("ADDED", "one")]
    await control("POST", FAULTS, {"kind": "unavailable", "cluster": target.cluster}, expect=201)
    async with asyncio.timeout(10):
        with pytest.raises(StopAsyncIteration):
            await events.next()
    assert (await target.raw("GET", path)).status == 503
    assert (await hub.raw("GET", path)).status == 200


async def test_a_fault_ends_after_its_times(hub, control):
    await control("POST", FAULTS, {"kind": "429", "times": 2}, expect=201)
    codes = [(await hub.raw("GET", CONFIGS)).status for _ in range(4)]
    assert codes == [429, 429, 200, 200]


async def test_chance_is_the_rate_and_the_same_for_the_same_seed():
    async def run(seed):
        faults = Faults()
        faults.add(Fault("500", rate=0.3, seed=seed))
        hits = []
        for _ in range(1000):
            try:
                await faults.before(Call("root", "get", "pods"))
                hits.append(False)
            except ApiError:
                hits.append(True)
        return hits

    once, again, other = await run(1), await run(1), await run(2)
    assert once == again != other
    assert 250 < sum(once) < 350


async def test_latency_answers_late(hub, control):
    await control("POST", FAULTS, {"kind": "latency", "seconds": 0.2, "resource": "configmaps"}, expect=201)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await hub("GET", CONFIGS)
    assert loop.time() - began >= 0.2


async def test_a_truncated_answer_had_its_effect(hub, control):
    await control("POST", FAULTS, {"kind": "truncate", "verb": "create"}, expect=201)
    response = await hub.raw("POST", CONFIGS, {"metadata": {"name": "one"}})
    assert response.stream is not None
    sent = await anext(response.stream)
    with pytest.raises(CutError):
        await anext(response.stream)
    assert 2 * len(sent) <= int(response.headers["content-length"])
    await hub("GET", f"{CONFIGS}/one")


@pytest.mark.parametrize("kind", ["drop", "truncate"])
async def test_a_watch_that_is_open_is_cut_at_its_next_event(hub, control, kind):
    version = (await hub("GET", CONFIGS))["metadata"]["resourceVersion"]
    response = await hub.raw("GET", CONFIGS, watch=1, resourceVersion=version)
    await hub("POST", CONFIGS, {"metadata": {"name": "one"}}, expect=201)
    assert b'"one"' in await anext(response.stream)
    await control("POST", FAULTS, {"kind": kind, "verb": "watch"}, expect=201)
    await hub("POST", CONFIGS, {"metadata": {"name": "two"}}, expect=201)
    if kind == "truncate":
        with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
            json.loads(await anext(response.stream))
    with pytest.raises(CutError):
        await anext(response.stream)
    assert hub.sandbox.store.watches == 0


async def test_a_stalled_watch_goes_on_after_a_while(hub, control):
    events = await hub.watch(CONFIGS, resourceVersion=(await hub("GET", CONFIGS))["metadata"]["resourceVersion"])
    await control("POST", FAULTS, {"kind": "stall", "seconds": 0.2}, expect=201)
    await hub("POST", CONFIGS, {"metadata": {"name": "one"}}, expect=201)
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await events.names(1) == [("ADDED", "one")]
    assert loop.time() - began >= 0.2


async def test_faults_are_created_read_and_deleted(control):
    one = await control("POST", FAULTS, {"kind": "500", "rate": 0.5}, expect=201)
    two = await control("POST", FAULTS, {"kind": "latency"}, expect=201)
    assert [item["id"] for item in (await control("GET", FAULTS))["items"]] == [one["id"], two["id"]]
    found = await control("GET", f"{FAULTS}/{one['id']}")
    assert (found["kind"], found["rate"], found["hits"]) == ("500", 0.5, 0)
    await control("DELETE", f"{FAULTS}/{one['id']}")
    await control("GET", f"{FAULTS}/{one['id']}", expect=404)
    await control("PATCH", FAULTS, {}, expect=405)
    assert await control("DELETE", FAULTS) == {"items": []}


@pytest.mark.parametrize(
    "body",
    [{}, {"kind": "teapot"}, {"kind": "500", "rate": 2}, {"kind": "500", "rate": 0}, {"kind": "500", "sed": 1}, []],
)
async def test_a_fault_that_cannot_be_is_refused(control, body):
    assert (await control("POST", FAULTS, body, expect=400))["reason"] == "BadRequest"


async def test_only_administrators_ask_for_faults(hub, control):
    alice = control.at("", hub.sandbox.add_user("alice"))
    await alice("POST", FAULTS, {"kind": "500"}, expect=403)
