"""PlacementDecisions of SIG Multicluster beside ours: as they are written, and brought back when they are not so."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.decision.emission import STANDARD, Emission
from services.decision.kubernetes import Decisions
from services.sandbox.run import serve
from services.sandbox.wire.http import Request, Response
from services.sandbox.world.world import World
from shared.api import PlacementDecisionStatus, ScoredTarget, TargetReference
from shared.api.generate.crds import crd
from shared.api.resources import RESOURCES
from shared.hub.hub import Hub
from shared.hub.names import DECISION_INDEX_LABEL, DECISION_KEY_LABEL
from shared.hub.resources import DECISIONS, PLACEMENTS
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.resources import CRDS, NAMESPACES
from shared.model.refs import PlacementRef
from tests.support import multicluster, together, worlds
from tests.support.client import if_there
from tests.support.manifests import obj, placement

ROOT = Path(__file__).parents[3]
TEAM = "root:team"
REF = PlacementRef(workspace=TEAM, namespace="shop", name="web")
VERBS = {"GET": "list", "PATCH": "patch", "DELETE": "delete", "POST": "create", "PUT": "update"}


class Desk:
    """Decision's records on a hub, with what is asked about the SIG's kind."""

    def __init__(self, hub: Hub, uid: str) -> None:
        self.client = hub.at(TEAM)
        self.uid = uid
        self.decisions = Decisions(hub, Emission(hub, "inventory"))
        self.verbs: set[str] = set()

    async def decide(self, attempt: int, targets: int) -> None:
        selected = tuple(
            ScoredTarget(target=TargetReference(name=f"t{number}"), reason="near") for number in range(targets)
        )
        before = await self.decisions.read(REF)
        await self.decisions.write(REF, self.uid, PlacementDecisionStatus(attempt=attempt, selected=selected), before)

    async def theirs(self) -> list[dict[str, Any]]:
        found = (await self.client.list(STANDARD)).items
        return sorted(found, key=lambda each: int(each["metadata"].get("labels", {}).get(DECISION_INDEX_LABEL, -1)))


@pytest.fixture
async def bare(tmp_path: Path) -> AsyncIterator[Desk]:
    """A hub that does not serve the SIG's kind."""
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
            if f"{STANDARD.group}/{STANDARD.version}" in request.path and "moorage" in request.headers.get(
                "user-agent", ""
            ):
                found.verbs.add(VERBS[request.method])
            return await handle(request)

        ready.sandbox.handle = tapped  # type: ignore[method-assign]  # it is looked up for every request
        yield found


@pytest.fixture
async def desk(bare: Desk) -> Desk:
    await bare.client.apply(CRDS, multicluster.CRD)
    return bare


async def test_a_decision_is_said_in_the_words_of_the_sig_too(desk: Desk) -> None:
    await desk.decide(1, 2)
    (found,) = await desk.theirs()
    assert found["schedulerName"] == "moorage"
    assert found["decisions"] == [
        {"clusterProfileRef": {"name": f"t{number}", "namespace": "inventory"}, "reason": "near"} for number in (0, 1)
    ]
    metadata = found["metadata"]
    assert (metadata["name"], metadata["namespace"]) == ("web", "shop")
    assert metadata["labels"] == {DECISION_KEY_LABEL: "web", DECISION_INDEX_LABEL: "0"}
    assert [each["uid"] for each in metadata["ownerReferences"]] == [desk.uid]


async def test_more_than_a_hundred_targets_are_slices_and_those_of_before_go(desk: Desk) -> None:
    await desk.decide(1, 250)
    found = await desk.theirs()
    assert [len(each["decisions"]) for each in found] == [100, 100, 50]
    assert {each["metadata"]["labels"][DECISION_KEY_LABEL] for each in found} == {"web"}
    await desk.decide(2, 101)
    assert [len(each["decisions"]) for each in await desk.theirs()] == [100, 1]
    await desk.decide(3, 0)
    assert [each["decisions"] for each in await desk.theirs()] == [[]]


async def test_they_go_with_the_decision(desk: Desk) -> None:
    await desk.decide(1, 101)
    await desk.decisions.forget(REF, await desk.decisions.read(REF))
    assert await desk.theirs() == []


async def test_what_others_changed_or_took_away_is_brought_back_and_what_is_theirs_is_left(desk: Desk) -> None:
    await desk.decide(1, 101)
    right = [each["decisions"] for each in await desk.theirs()]
    first, second = await desk.theirs()
    await desk.client.replace(STANDARD, {**first, "decisions": []})
    await desk.client.delete(STANDARD, second["metadata"]["name"], "shop")
    for name, scheduler in (("left", "moorage"), ("others", "somebody")):
        await desk.client.create(
            STANDARD,
            {**obj("PlacementDecision", STANDARD.api_version, name=name), "decisions": [], "schedulerName": scheduler},
        )
    await desk.decisions.emit(TEAM)
    others, *ours = await desk.theirs()
    assert [each["decisions"] for each in ours] == right
    assert others["metadata"]["name"] == "others"


async def test_what_is_as_it_should_be_is_only_read(desk: Desk) -> None:
    await desk.decide(1, 101)
    before = [each["metadata"]["resourceVersion"] for each in await desk.theirs()]
    desk.verbs.clear()
    await desk.decisions.emit(TEAM)
    assert desk.verbs == {"list"}
    assert [each["metadata"]["resourceVersion"] for each in await desk.theirs()] == before


async def test_where_the_kind_is_not_served_it_is_said_once_and_decisions_are_made(
    bare: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "moorage.decision"):
        await bare.decide(1, 1)
        await bare.decide(2, 1)
        await bare.decisions.emit(TEAM)
    assert [record.message for record in caplog.records] == [
        "no PlacementDecisions of multicluster.x-k8s.io are served"
    ]
    assert (await bare.client.get(DECISIONS, "web", "shop"))["status"]["attempt"] == 2
    await bare.client.apply(CRDS, multicluster.CRD)
    await bare.decisions.emit(TEAM)
    assert len(await bare.theirs()) == 1


async def test_it_takes_the_rights_of_the_example_and_no_others(desk: Desk) -> None:
    (role, _) = yaml.safe_load_all((ROOT / "examples/multicluster/rights.yaml").read_text())
    (rule,) = role["rules"]
    desk.verbs.clear()
    await desk.decide(1, 101)
    await desk.decide(2, 1)
    await desk.decisions.emit(TEAM)
    assert desk.verbs == set(rule["verbs"])
    assert (rule["apiGroups"], rule["resources"]) == ([STANDARD.group], [STANDARD.plural])


async def test_workers_write_them_where_it_is_switched_on(tmp_path: Path) -> None:
    async with together.together(tmp_path, worlds.world(2), standard_decisions=True) as system:
        await system.user.apply(CRDS, multicluster.CRD)
        await system.place("web", worlds.deployment("web"))
        await system.reaches("web", "Ready")
        found = await system.user.get(STANDARD, "web", worlds.NAMESPACE)
        assert [each["clusterProfileRef"] for each in found["decisions"]] == [
            {"name": name} for name in await system.chosen("web")
        ]
        await system.user.delete(PLACEMENTS, "web", worlds.NAMESPACE)
        await together.until(
            lambda: if_there(system.user.get(STANDARD, "web", worlds.NAMESPACE)),
            "it goes with the Placement",
            holds=lambda there: there is None,
        )
