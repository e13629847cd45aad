"""How decisions are written to real API servers: in one request, in slices, upon those of earlier releases."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.decision.kubernetes import Decisions, lost_race
from services.sandbox.run import serve
from services.sandbox.wire.http import Request, Response
from services.sandbox.world.world import World
from shared.api import PlacementDecisionStatus, ScoredTarget, TargetReference
from shared.api.generate.crds import crd
from shared.api.resources import RESOURCES
from shared.broker.bus import Retry
from shared.hub.decisions import IncompleteDecision, read_decision
from shared.hub.hub import Hub
from shared.hub.names import DECISION_INDEX_LABEL, DECISION_KEY_LABEL
from shared.hub.resources import DECISIONS, PLACEMENTS
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.errors import ApiError
from shared.kube.resources import CRDS, NAMESPACES
from shared.model.refs import PlacementRef
from tests.support.earlier import earlier_decisions
from tests.support.manifests import obj, placement
from tests.support.values import head

TEAM = "root:team"
REF = PlacementRef(workspace=TEAM, namespace="shop", name="web")
TARGET = {"target": {"workspace": "root:p", "name": "east"}}


def decided(attempt: int, targets: int = 1) -> PlacementDecisionStatus:
    selected = tuple(ScoredTarget(target=TargetReference(name=f"t{number}")) for number in range(targets))
    return PlacementDecisionStatus(attempt=attempt, selected=selected)


class Desk:
    """A hub with one copy of decision's records, and what its API server was asked for."""

    def __init__(self, hub: Hub, uid: str) -> None:
        self.hub = hub
        self.uid = uid
        self.client = hub.at(TEAM)
        self.decisions = Decisions(hub)
        self.asked: list[str] = []

    async def attempt(self, attempt: int, targets: int = 1) -> list[str]:
        """Decide once more as the decider does; what was asked for that."""
        self.asked.clear()
        known = self.decisions.memory.before(REF, head(attempt, uid=self.uid))
        if known is None and attempt > 1:
            known = await self.decisions.read(REF)
        await self.decisions.write(REF, self.uid, decided(attempt, targets), known)
        return [each.partition(" ")[0] for each in self.asked]

    async def selected(self) -> int:
        found = await read_decision(self.client, REF.name, REF.namespace)
        return -1 if found is None else len(found.status.selected)

    async def names(self) -> list[str]:
        return sorted(each["metadata"]["name"] for each in (await self.client.list(DECISIONS)).items)

    async def slice_names(self) -> list[str]:
        return [name for name in await self.names() if name != REF.name]


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
        found = Desk(hub, (await team.create(PLACEMENTS, placement()))["metadata"]["uid"])
        handle = ready.sandbox.handle

        async def tapped(request: Request) -> Response:
            if "placementdecisions" in request.path:
                found.asked.append(f"{request.method} {request.path}")
            return await handle(request)

        ready.sandbox.handle = tapped  # type: ignore[method-assign]  # it is looked up for every request
        yield found


async def serve_as_before(desk: Desk) -> None:
    await desk.client.apply(CRDS, earlier_decisions(), force=True)


async def decide_as_before(desk: Desk, targets: int = 1) -> None:
    made = await desk.client.create(DECISIONS, obj("PlacementDecision", DECISIONS.api_version))
    status = {"attempt": 3, "selected": [TARGET] * targets, "history": [{"when": "2026-01-01T00:00:00Z", "why": "x"}]}
    await desk.client.replace(DECISIONS, {**made, "status": status}, subresource="status")


async def test_each_decision_takes_one_request_as_long_as_the_last_one_is_remembered(desk: Desk) -> None:
    assert await desk.attempt(1) == ["POST"]
    assert await desk.attempt(2) == ["PUT"]
    assert await desk.attempt(5) == ["PUT"]
    desk.decisions.memory.forget(REF)
    assert await desk.attempt(6) == ["GET", "PUT"]


async def test_whoever_remembers_what_others_wrote_upon_meanwhile_loses_and_reads(desk: Desk) -> None:
    other = Desk(desk.hub, desk.uid)
    await desk.attempt(1)
    await other.attempt(2)
    with pytest.raises(ApiError) as raised:
        await desk.attempt(3)
    assert lost_race(raised.value, REF)
    assert await desk.attempt(3) == ["GET", "PUT"]


async def test_a_decision_that_was_deleted_by_hand_is_a_race_that_was_lost(desk: Desk) -> None:
    await desk.attempt(1)
    await desk.client.delete(DECISIONS, REF.name, REF.namespace)
    with pytest.raises(ApiError) as raised:
        await desk.attempt(2)
    assert lost_race(raised.value, REF)
    assert await desk.attempt(2) == ["GET", "POST"]


async def test_a_first_attempt_that_was_written_before_is_a_race_that_was_lost(desk: Desk) -> None:
    await desk.attempt(1)
    with pytest.raises(ApiError) as raised:
        await Desk(desk.hub, desk.uid).attempt(1)
    assert lost_race(raised.value, REF)


async def test_a_decision_for_very_many_targets_is_written_in_slices_and_those_of_the_last_one_go(desk: Desk) -> None:
    assert await desk.attempt(1, targets=250) == ["POST", "POST", "POST"]
    first = await desk.slice_names()
    assert (len(first), await desk.selected()) == (2, 250)
    assert await desk.attempt(2, targets=350) == ["POST", "POST", "POST", "PUT", "DELETE", "DELETE"]
    assert not set(first) & set(await desk.slice_names())
    assert (len(await desk.slice_names()), await desk.selected()) == (3, 350)
    await desk.attempt(3, targets=1)
    assert (await desk.slice_names(), await desk.selected()) == ([], 1)


async def test_no_reader_ever_sees_half_of_a_decision(desk: Desk) -> None:
    await desk.attempt(1, targets=150)
    seen: set[int] = set()

    async def look() -> None:
        while True:
            seen.add(await desk.selected())

    async with asyncio.TaskGroup() as tasks:
        looking = [tasks.create_task(look()) for _ in range(3)]
        for attempt in range(2, 12):
            await desk.attempt(attempt, targets=150 + 100 * (attempt % 3))
        for each in looking:
            each.cancel()
    assert seen <= {150, 250, 350}
    assert len(seen) > 1


async def test_a_decision_whose_slice_was_taken_away_is_told_as_such_and_decided_anew(desk: Desk) -> None:
    await desk.attempt(1, targets=250)
    await desk.client.delete(DECISIONS, (await desk.slice_names())[0], REF.namespace)
    with pytest.raises(IncompleteDecision):
        await desk.selected()
    known = await desk.decisions.read(REF)
    assert known is not None
    assert not known.whole
    await desk.attempt(2, targets=250)
    assert await desk.selected() == 250


async def test_what_a_worker_left_that_died_before_the_last_slice_is_taken_away_later(desk: Desk) -> None:
    await desk.attempt(1, targets=150)
    kept = await desk.slice_names()
    left = {"attempt": 1, "revision": "0", "selected": [TARGET]}
    newer = {"attempt": 2, "revision": "1", "selected": [TARGET]}
    for name, status in (("web-0-1", left), ("web-1-1", newer)):
        body: dict[str, Any] = obj("PlacementDecision", DECISIONS.api_version, name=name, status=status)
        owner = {"apiVersion": DECISIONS.api_version, "kind": "Placement", "name": "web", "uid": desk.uid}
        labels = {DECISION_KEY_LABEL: "web", DECISION_INDEX_LABEL: "1"}
        body["metadata"] |= {"labels": labels, "ownerReferences": [owner]}
        await desk.client.create(DECISIONS, body)
    await desk.decisions.put_in_order(TEAM)
    assert await desk.slice_names() == sorted([*kept, "web-1-1"])
    assert await desk.selected() == 150


@pytest.mark.parametrize("targets", [1, 250])
async def test_a_decision_of_the_release_before_is_read_as_it_is_and_written_anew_with_all_that_it_says(
    desk: Desk, targets: int
) -> None:
    await serve_as_before(desk)
    await decide_as_before(desk, targets)
    (resource,) = (each for each in RESOURCES if each.plural == "placementdecisions")
    await desk.client.apply(CRDS, crd(resource), force=True)
    assert await desk.selected() == targets
    await desk.decisions.put_in_order(TEAM)
    assert await desk.selected() == targets
    found = await desk.client.get(DECISIONS, REF.name, REF.namespace)
    assert found["status"]["attempt"] == 3
    assert found["status"]["history"] == [{"when": "2026-01-01T00:00:00Z", "why": "x"}]
    assert len(found["status"]["decisions"]) == min(targets, 100)
    assert len(await desk.slice_names()) == (2 if targets == 250 else 0)
    desk.asked.clear()
    await desk.decisions.put_in_order(TEAM)
    assert not [each for each in desk.asked if not each.startswith("GET")]


async def test_a_hub_that_serves_the_kind_as_before_is_waited_for_and_nothing_counts_as_decided(desk: Desk) -> None:
    await serve_as_before(desk)
    with pytest.raises(Retry, match="upgrade its CRDs"):
        await desk.attempt(1)
    known = await desk.decisions.read(REF)
    assert known is not None
    assert known.status.attempt == 0
    (resource,) = (each for each in RESOURCES if each.plural == "placementdecisions")
    await desk.client.apply(CRDS, crd(resource), force=True)
    await desk.decisions.write(REF, desk.uid, decided(1), known)
    assert await desk.selected() == 1
