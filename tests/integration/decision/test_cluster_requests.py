"""ClusterRequests on a hub, while others write them too: the newest attempt has the last word, and nothing is left."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.decision.cluster_requests import LOOK_EVERYWHERE, ClusterRequests
from services.decision.kubernetes import Decisions
from services.decision.unfulfilled import attempt_of, cluster_request
from services.sandbox.run import serve
from services.sandbox.wire.http import Request as HttpRequest
from services.sandbox.wire.http import Response
from services.sandbox.world.world import World
from shared.api import ClusterRequest, PlacementDecisionStatus, PlacementSpec, to_dict
from shared.api.generate.crds import crd
from shared.api.resources import RESOURCES
from shared.hub.hub import Hub
from shared.hub.resources import CLUSTER_REQUESTS, PLACEMENTS
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.resources import CRDS, NAMESPACES
from shared.model.decision import Shortfall
from shared.model.refs import Head, PlacementRef
from shared.model.request import Cause, Request
from tests.support.client import if_there
from tests.support.manifests import obj, placement

TEAM = "root:team"
REF = PlacementRef(workspace=TEAM, namespace="shop", name="web")
SINCE = "2026-01-01T00:00:00Z"
ACCEPTED = {"type": "Accepted", "status": "True", "reason": "Ordered", "lastTransitionTime": SINCE}


class Desk:
    """A hub with a Placement, and two copies of decision's requests."""

    def __init__(self, hub: Hub, uid: str) -> None:
        self.hub = hub
        self.uid = uid
        self.client = hub.at(TEAM)
        self.now = 0.0
        self.one, self.other = (ClusterRequests(hub, lambda: self.now) for _ in range(2))
        self.asked: list[str] = []
        self.answered: list[bytes] = []

    def wanted(self, attempt: int, targets: int = 1, uid: str = "") -> ClusterRequest:
        head = Head(uid=uid or self.uid, generation=1, attempt=attempt)
        request = Request(placement=REF, head=head, cause=Cause(code="Created"), spec=PlacementSpec())
        status = PlacementDecisionStatus(refusal="TooFewTargets", requested_since=SINCE, attempt=attempt)
        return cluster_request(request, Shortfall(targets=targets, resources={"cpu": 2.0}), status)

    async def there(self) -> ClusterRequest | None:
        return await if_there(self.client.get(CLUSTER_REQUESTS, "web", "shop", type=ClusterRequest))

    async def names(self) -> list[str]:
        return [each["metadata"]["name"] for each in (await self.client.list(CLUSTER_REQUESTS)).items]

    async def leave(self, name: str) -> None:
        """Have a request behind, which nobody decided, of a Placement of that name."""
        made = await self.client.create(PLACEMENTS, placement(name, whenUnfulfilled="Request"))
        body = to_dict(self.wanted(1, uid=made["metadata"]["uid"]))
        body["metadata"]["name"] = body["metadata"]["ownerReferences"][0]["name"] = name
        await self.client.create(CLUSTER_REQUESTS, body)

    async def decided(self, attempt: int, since: str | None) -> None:
        """Have a decision on record."""
        decisions = Decisions(self.hub)
        status = PlacementDecisionStatus(attempt=attempt, requested_since=since)
        await decisions.write(REF, self.uid, status, await decisions.read(REF))


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with (
        serve(World(workspaces=[TEAM], serves=[]), "127.0.0.1", 0, tmp_path, tls=False) as ready,
        Client(load_kubeconfig(ready.kubeconfigs["admin"])) as client,
    ):
        hub = Hub(client, "kcp")
        team = hub.at(TEAM)
        for resource in RESOURCES:
            await team.apply(CRDS, crd(resource))
        await team.create(NAMESPACES, obj("Namespace", name="shop", namespace=""))
        made = await team.create(PLACEMENTS, placement(whenUnfulfilled="Request"))
        found = Desk(hub, made["metadata"]["uid"])
        handle = ready.sandbox.handle

        async def tapped(request: HttpRequest) -> Response:
            if "clusterrequests" in request.path:
                found.asked.append(request.method)
            response = await handle(request)
            if "clusterrequests" in request.path:
                found.answered.append(bytes(response.body))
            return response

        ready.sandbox.handle = tapped  # type: ignore[method-assign]  # it is looked up for every request
        yield found


async def test_it_is_written_anew_with_each_attempt_and_what_others_say_of_it_stays(desk: Desk) -> None:
    await desk.one.ask(REF, desk.wanted(2))
    status = {"status": {"conditions": [ACCEPTED]}}
    await desk.client.merge_patch(CLUSTER_REQUESTS, "web", status, "shop", subresource="status")
    await desk.client.merge_patch(CLUSTER_REQUESTS, "web", {"metadata": {"labels": {"order": "7"}}}, "shop")
    await desk.other.ask(REF, desk.wanted(3, targets=4))
    found = await desk.there()
    assert found is not None
    assert (attempt_of(found), found.spec.missing.targets) == (3, 4)
    assert [each.type for each in found.status.conditions] == ["Accepted"]
    assert found.metadata.labels["order"] == "7"


async def test_an_older_attempt_neither_writes_nor_withdraws_what_a_newer_one_asks_for(desk: Desk) -> None:
    await desk.one.ask(REF, desk.wanted(5, targets=4))
    await desk.other.ask(REF, desk.wanted(4))
    await desk.other.withdraw(REF, 4)
    found = await desk.there()
    assert found is not None
    assert found.spec.missing.targets == 4
    await desk.other.withdraw(REF, 6)
    assert await desk.there() is None
    await desk.other.withdraw(REF, 7)


async def test_what_was_asked_for_an_earlier_placement_of_that_name_is_made_anew(desk: Desk) -> None:
    another = await desk.client.create(PLACEMENTS, placement("another"))
    body = to_dict(desk.wanted(9, uid=another["metadata"]["uid"]))
    body["metadata"]["ownerReferences"][0]["name"] = "another"  # or it would be collected
    await desk.client.create(CLUSTER_REQUESTS, body)
    status = {"status": {"conditions": [ACCEPTED]}}
    await desk.client.merge_patch(CLUSTER_REQUESTS, "web", status, "shop", subresource="status")
    await desk.one.ask(REF, desk.wanted(1))
    found = await desk.there()
    assert found is not None
    assert (attempt_of(found), found.status.conditions) == (1, ())


async def test_what_is_left_behind_is_found_by_whoever_starts_and_what_is_wanted_stays(desk: Desk) -> None:
    await desk.decided(2, SINCE)
    await desk.one.ask(REF, desk.wanted(2))
    await desk.other.put_in_order([TEAM, "root:unknown"])
    assert await desk.there() is not None
    await desk.decided(3, None)  # by somebody who was killed, or was overtaken by a write
    await desk.other.put_in_order([TEAM])
    assert await desk.there() is None


async def test_of_what_others_say_of_it_nothing_is_read_to_look_for_what_is_left_behind(desk: Desk) -> None:
    await desk.decided(2, SINCE)
    await desk.one.ask(REF, desk.wanted(2))
    status = {"status": {"conditions": [{**ACCEPTED, "message": "a long story"}]}}
    await desk.client.merge_patch(CLUSTER_REQUESTS, "web", status, "shop", subresource="status")
    desk.answered.clear()
    await desk.other.put_in_order([TEAM])
    assert [b"web" in each for each in desk.answered] == [True]
    assert b"a long story" not in desk.answered[0]


async def test_where_none_was_found_none_is_looked_for_until_one_is_written(desk: Desk) -> None:
    await desk.one.put_in_order([TEAM])
    assert desk.asked == ["GET"]
    await desk.one.put_in_order([TEAM])
    assert desk.asked == ["GET"]
    await desk.one.ask(REF, desk.wanted(2))
    await desk.one.put_in_order([TEAM])  # no decision says that it is asked for
    assert await desk.there() is None


async def test_of_many_so_many_are_looked_at_in_one_go_and_the_next_goes_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.decision.cluster_requests.MOST_AT_ONCE", 2)
    for name in ("a", "b", "c", "d", "e"):
        await desk.leave(name)
    for expected in (["c", "d", "e"], ["e"], []):
        await desk.one.put_in_order([TEAM])
        assert await desk.names() == expected


async def test_those_that_are_wanted_keep_none_behind_them_from_its_turn(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.decision.cluster_requests.MOST_AT_ONCE", 1)
    await desk.decided(2, SINCE)
    await desk.one.ask(REF, desk.wanted(2))
    await desk.leave("zoo")
    await desk.one.put_in_order([TEAM])
    assert await desk.names() == ["web", "zoo"]
    await desk.one.put_in_order([TEAM])
    assert await desk.names() == ["web"]
    await desk.one.put_in_order([TEAM])  # there is none behind it: from the first on again
    await desk.decided(3, None)
    await desk.one.put_in_order([TEAM])
    assert await desk.there() is None


async def test_what_another_copy_asked_for_and_left_behind_is_found_within_an_hour(desk: Desk) -> None:
    await desk.one.put_in_order([TEAM])
    await desk.other.ask(REF, desk.wanted(2))  # and is killed
    await desk.one.put_in_order([TEAM])
    assert await desk.there() is not None
    desk.now += LOOK_EVERYWHERE
    await desk.one.put_in_order([TEAM])
    assert await desk.there() is None


async def test_a_hub_that_does_not_serve_the_kind_stops_nothing(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    await desk.client.delete(CRDS, "clusterrequests.placement.moorage.io")
    await desk.one.ask(REF, desk.wanted(2))
    await desk.one.withdraw(REF, 3)
    assert len(caplog.records) == 2
    await desk.one.put_in_order([TEAM])
    assert len(caplog.records) == 2, "a workspace without the kind has none"
