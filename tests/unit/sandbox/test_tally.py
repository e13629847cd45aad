"""Requests counted by form."""

from services.sandbox.wire import tally

CONFIGS = "/api/v1/namespaces/default/configmaps"


async def counts(hub):
    answered = await hub.at("")("GET", "/sandbox/requests")
    return {(each["agent"], each["where"], each["verb"], each["resource"]): each["count"] for each in answered["items"]}


async def test_requests_are_counted_by_client_place_verb_and_resource_also_when_refused(hub, target):
    ours = {"headers": {"user-agent": "moorage-binding/1.0"}}
    for _ in range(2):
        await hub("GET", CONFIGS, **ours)
    await hub("GET", f"{CONFIGS}/none", expect=404, **ours)
    await hub("PUT", "/api/v1/namespaces/default/status", {}, expect=400, **ours)
    await target.raw("GET", "/readyz", **ours)
    assert await counts(hub) == {
        ("moorage-binding", "hub", "list", "configmaps"): 2,
        ("moorage-binding", "hub", "get", "configmaps"): 1,
        ("moorage-binding", "hub", "update", "namespaces/status"): 1,
        ("moorage-binding", "target", "get", "readyz"): 1,
    }


async def test_forms_beyond_the_bound_are_counted_together(hub, monkeypatch):
    monkeypatch.setattr(tally, "MOST", 2)
    for number in range(5):
        await hub("GET", CONFIGS, headers={"user-agent": f"client-{number}"})
    assert sorted((await counts(hub)).values()) == [1, 1, 3]
