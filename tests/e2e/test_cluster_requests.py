"""What is missing where nothing fits is asked for by a ClusterRequest, and no longer than it is."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.hub.resources import CLUSTER_REQUESTS, PLACEMENTS, SYNCTARGETS
from tests.support import worlds
from tests.support.client import if_there
from tests.support.together import Together, together
from tests.support.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(180)]

WITHIN = 60.0
CLOSED = "cluster-001"


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[Together]:
    """Two targets of four cores, one of them closed."""
    async with together(tmp_path, worlds.world(2, cpu="4"), release_seconds=1.0) as found:
        await opened(found, False)
        yield found


async def opened(system: Together, is_open: bool) -> None:
    """Have the second target take something, or not."""
    patch = {"spec": {"unschedulable": not is_open}}
    await system.admin.cluster(worlds.PLATFORM).merge_patch(SYNCTARGETS, CLOSED, patch)


async def request(system: Together, name: str = "web") -> dict[str, Any] | None:
    return await if_there(system.user.get(CLUSTER_REQUESTS, name, worlds.NAMESPACE))


async def asked(system: Together, name: str = "web") -> dict[str, Any]:
    found: dict[str, Any] = await until(
        lambda: request(system, name), "it is asked for", holds=lambda found: found is not None, within=WITHIN
    )
    return found


async def withdrawn(system: Together, name: str = "web") -> None:
    await until(lambda: request(system, name), "it is not asked for", holds=lambda found: found is None, within=WITHIN)


async def place(system: Together, name: str = "web", **spec: Any) -> None:
    await system.place(name, worlds.deployment(name, replicas=3), count=2, whenUnfulfilled="Request", **spec)


async def test_it_says_what_is_missing_and_goes_when_that_is_there(system: Together) -> None:
    await place(system)
    found = await asked(system)
    spec = found["spec"]
    assert spec["missing"] == {"targets": 1, "resources": {"cpu": "300m", "memory": "201326592", "pods": "3"}}
    assert (spec["workspace"], spec["placementRef"]["name"], spec["reason"]) == (worlds.TEAM, "web", "TooFewTargets")
    assert spec["requirements"]["apis"] == [{"apiVersion": "apps/v1", "kind": "Deployment"}]
    assert spec["rejected"] == [{"reason": "Unschedulable", "count": 1, "message": "unschedulable"}]
    assert (await system.decision("web"))["requestedSince"] == spec["since"]

    said = {"type": "Accepted", "status": "True", "reason": "Ordered", "message": "in ten minutes"}
    conditions = [{**said, "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    await system.user.merge_patch(
        CLUSTER_REQUESTS, "web", {"status": {"conditions": conditions}}, worlds.NAMESPACE, subresource="status"
    )
    attempt = (await system.decision("web"))["attempt"]

    async def tried_again() -> bool:
        return (await system.decision("web"))["attempt"] > attempt

    await until(tried_again, "it is tried again in vain", within=WITHIN)
    found = await asked(system)
    assert found["status"]["conditions"] == conditions, "what is said of it stays"
    assert found["spec"]["since"] == spec["since"]

    await opened(system, True)
    await withdrawn(system)
    await system.reaches("web", "Ready")
    assert "requestedSince" not in await system.decision("web")


async def test_it_goes_when_it_is_not_wanted_any_more_and_with_its_placement(system: Together) -> None:
    await place(system)
    await asked(system)
    await system.edit(PLACEMENTS, "web", {"whenUnfulfilled": "Wait"})
    await withdrawn(system)
    await system.edit(PLACEMENTS, "web", {"whenUnfulfilled": "Request"})
    await asked(system)
    await system.edit(PLACEMENTS, "web", {"suspend": True})
    await withdrawn(system)
    await system.edit(PLACEMENTS, "web", {"suspend": False})
    await asked(system)
    await system.edit(PLACEMENTS, "web", {"targets": {"count": {"min": 1}}})
    await withdrawn(system)

    await place(system, "shop")
    await asked(system, "shop")
    await system.user.delete(PLACEMENTS, "shop", worlds.NAMESPACE)
    await withdrawn(system, "shop")


async def test_nothing_is_asked_of_the_hub_for_those_that_only_wait(system: Together) -> None:
    paths = []
    handle = system.sandbox.handle

    async def tapped(request: Any) -> Any:
        paths.append(request.path)
        return await handle(request)

    system.sandbox.handle = tapped  # type: ignore[method-assign]  # it is looked up for every request

    async def refused() -> bool:
        return bool((await system.decision("web")).get("refusal"))

    await system.place("web", worlds.deployment("web"), count=2)
    await until(refused, "it is refused", within=WITHIN)
    await opened(system, True)
    await system.reaches("web", "Ready")
    of_one = [path for path in paths if "/clusterrequests/" in path or "/namespaces/apps/clusterrequests" in path]
    assert of_one == []
