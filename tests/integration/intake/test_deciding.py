"""What is asked of the stages where somebody asks what would be decided, and what is answered."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from shared.api import PlacementDecisionStatus
from shared.broker.batches import MOST_TOGETHER, each_answered
from shared.broker.bus import Asked, Reply, Retry, Service
from shared.broker.claims import CLAIM_HEADER
from shared.broker.table import Table
from shared.cloudevents import CloudEvent, parse, structured
from shared.hub.names import HOLD_ANNOTATION
from shared.hub.resources import OVERRIDES, PLACEMENTS
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.resources import DEPLOYMENTS
from shared.model.answer import DecisionAnswer
from shared.model.refs import TargetRef
from shared.model.request import Request
from shared.model.target import Target
from shared.pipeline.buckets import INVENTORY
from shared.pipeline.messages import Requested, decoder
from shared.pipeline.questions import ASKED_ABOUT
from shared.pipeline.requests import RequestSubject
from tests.support.asking import data_of, request
from tests.support.client import if_there
from tests.support.grants import ACCESS, grant
from tests.support.manifests import deployment, obj, placement
from tests.support.scene import RIVAL, TEAM

pytestmark = pytest.mark.timeout(120)
READING = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get"]}


class Stages:
    """In place of the stages: they pass on what they are asked, and remember it."""

    def __init__(self, desk: Any) -> None:
        self.desk = desk
        self.bus = desk.alice.bus
        self.asked: list[Request] = []
        self.late = False
        self.lost = False
        self.rationale = ""

    async def serve(self) -> None:
        for kind in ASKED_ABOUT[:-1]:
            await self.bus.serve(Service(subject=kind.asked_on(), group=kind.stage), self._pass_on)
        await self.bus.serve(Service(subject=ASKED_ABOUT[-1].asked_on(), group="decision"), self._decide)

    async def _pass_on(self, asked: Asked) -> Reply:
        async def same(payload: bytes) -> bytes:
            return payload

        return Reply(await each_answered(asked.payload, asked.headers, same, "stage"))

    async def _decide(self, asked: Asked) -> Reply:
        if self.lost:
            return Reply(b"", {CLAIM_HEADER: "nowhere"})
        return Reply(await each_answered(asked.payload, asked.headers, self._decided, "decision"))

    async def _decided(self, payload: bytes) -> bytes:
        if self.late:
            raise Retry(1.0, "reservations are being rebuilt")
        message = decoder(Requested).decode(payload)
        self.asked.append(message.request)
        why = self.rationale or message.request.error or "as good as any"
        decided = PlacementDecisionStatus(strategy="BestFit", rationale=why)
        return msgspec.json.encode(DecisionAnswer(placement=message.about, decision=decided))

    async def decide(self, data: Any, *, workspace: str = TEAM, user: str = "alice", **more: Any) -> CloudEvent:
        event = request("decide", data, inbox="", **more)
        return await self.put(structured(event), workspace=workspace, user=user)

    async def put(self, payload: bytes, *, workspace: str = TEAM, user: str = "alice") -> CloudEvent:
        subject = RequestSubject(workspace, user, "decide").subject
        reply = await self.bus.ask(subject, payload, timeout=20)
        return parse(reply.payload, reply.headers)

    async def rejected(self, data: Any, **more: Any) -> str:
        answer = await self.decide(data, **more)
        assert answer.type == "io.moorage.placement.rejected.v1", answer
        return str(data_of(answer)["code"])


@pytest.fixture
async def stages(opened_desk) -> Stages:
    found = Stages(opened_desk)
    await found.serve()
    await grant(opened_desk.scene.hub.cluster(TEAM), "alice", READING)
    return found


def inline(**spec: Any) -> dict[str, Any]:
    return {"placement": placement("web", **spec), "objects": [deployment()]}


async def test_what_comes_along_is_counted_and_nothing_of_it_is_written(stages):
    answer = await stages.decide(inline())
    assert answer.type == "io.moorage.placement.answered.v1"
    assert answer.subject == f"{TEAM}/shop/web"
    assert data_of(answer)["decision"]["rationale"] == "as good as any"
    (asked,) = stages.asked
    assert asked.requester.username == "alice"
    assert [(each.kind, each.name, each.replicas) for each in asked.workload] == [("Deployment", "web", 1)]
    assert asked.input_digest
    assert asked.question is not None
    team = stages.desk.scene.team
    assert await if_there(team.get(PLACEMENTS, "web", "shop")) is None
    assert await if_there(team.get(DEPLOYMENTS, "web", "shop")) is None


async def test_a_placement_that_is_there_is_asked_about_with_changes(stages):
    scene = stages.desk.scene
    await scene.team.create(DEPLOYMENTS, deployment())
    ref = await scene.place("web", priority=3)
    await scene.decide(ref, "east", replicas=1)
    answer = await stages.decide({"namespace": "shop", "name": "web", "changes": {"priority": 9}})
    assert answer.type.endswith(".answered.v1"), data_of(answer)
    (asked,) = stages.asked
    assert asked.spec.priority == 9
    assert [(each.target, each.replicas) for each in asked.previous] == [(f"{scene.provider}/east", 1)]
    assert asked.head.uid
    assert [each.name for each in asked.workload] == ["web"]
    assert (await scene.team.get(PLACEMENTS, "web", "shop"))["spec"]["priority"] == 3


async def test_overrides_are_counted_for_the_targets_that_there_are(stages):
    labelled = Target(workspace="root:platform", name="east", labels={"size": "small"})
    await Table(stages.desk.scene.store, INVENTORY).put(TargetRef.of(labelled).key, labelled)
    patch = {"op": "replace", "path": "/spec/replicas", "value": 5}
    override = {"targetSelector": {"matchLabels": {"size": "small"}}, "patches": [patch]}
    await stages.decide(inline(overrides=[override]))
    (asked,) = stages.asked
    assert [[each.replicas for each in variant.workload] for variant in asked.variants] == [[5]]


async def test_of_everything_with_a_label_what_comes_along_is_taken_else_what_is_on_the_hub(stages):
    workload = [{"all": True, "labelSelector": {"matchLabels": {"app": "web"}}}]
    await stages.desk.scene.team.create(DEPLOYMENTS, deployment(replicas=3))
    labelled = obj("ConfigMap", data={})
    labelled["metadata"]["labels"] = {"app": "web"}
    for objects, expected in (
        ([], [("Deployment", 3)]),
        ([labelled], [("ConfigMap", None)]),
        ([labelled, deployment(replicas=2)], [("ConfigMap", None), ("Deployment", 2)]),
    ):
        await stages.decide({"placement": placement("web", workload=workload), "objects": objects})
        assert stages.asked[-1].error == ""
        assert sorted((each.kind, each.replicas) for each in stages.asked[-1].workload) == expected
    absent = [{"all": True, "labelSelector": {"matchLabels": {"app": "absent"}}}]
    await stages.decide({"placement": placement("web", workload=absent)})
    assert stages.asked[-1].error.startswith("spec.workload[0] selects nothing: no object of a common kind")


def override(name: str, kind: str, target: str, **spec: Any) -> dict[str, Any]:
    about = {"placementRef": {"name": "web", "namespace": "shop"}, "targets": [{"name": target}]}
    body = obj("PlacementOverride", OVERRIDES.api_version, name=name, namespace="")
    return {**body, "spec": {"type": kind, "reason": "by hand", **about, **spec}}


async def test_overrides_hold_for_what_is_asked_about_where_their_author_may(stages):
    scene = stages.desk.scene
    token = scene.ready.sandbox.add_user("olga")
    writing = {"apiGroups": ["placement.moorage.io"], "resources": ["placementoverrides"], "verbs": ["*"]}
    await grant(scene.team, "olga", ACCESS, writing)
    credentials = load_kubeconfig(scene.ready.kubeconfigs["admin"])
    async with Client(dataclasses.replace(credentials, token=token)) as olga:
        await olga.cluster(TEAM).create(OVERRIDES, override("no-right", "Force", "west"))
    await scene.team.create(OVERRIDES, override("hand", "Force", "east"))
    await scene.team.create(OVERRIDES, override("over", "Exclude", "bare", expiresAt="2020-01-01T00:00:00Z"))
    await scene.team.create(OVERRIDES, override("other", "Exclude", "west", placementRef={"name": "api"}))
    read = scene.count_requests(TEAM)
    for _ in range(3):
        await stages.decide(inline())
        assert [(each.name, each.type) for each in stages.asked[-1].operator_overrides] == [("hand", "Force")]
    assert sum("placementoverrides" in each for each in read) <= 2  # they are kept for a moment


async def test_what_is_to_be_held_is_asked_for_and_a_placement_names_what_it_takes_over(stages):
    await stages.decide({**inline(), "reserve": "1m30s"})
    question = stages.asked[-1].question
    assert question.reserve == 90.0
    alice, team = stages.desk.alice, stages.desk.scene.team
    await alice.ask(request("place", {"placement": placement("web"), "hold": question.id}))
    found = await team.get(PLACEMENTS, "web", "shop")
    assert found["metadata"]["annotations"][HOLD_ANNOTATION] == question.id
    answer = await alice.ask(request("place", {"placement": placement("other"), "hold": "../x"}))
    assert data_of(answer)["code"] == "InvalidRequest"


async def test_what_cannot_be_placed_as_it_is_is_answered_by_decision_and_says_why(stages):
    await stages.decide({"placement": placement("web")})
    assert "spec.workload[0] selects nothing" in stages.asked[-1].error
    bad = placement("web", targets={"count": 2, "minCount": 3})
    await stages.decide({"placement": bad})
    assert stages.asked[-1].error


async def test_what_its_user_may_not_do_or_see_is_refused(stages):
    assert await stages.rejected(inline(), user="mallory") == "Forbidden"
    assert await stages.rejected(inline(), user="nobody") == "UnknownUser"
    assert await stages.rejected(inline(), workspace=RIVAL) == "Forbidden"
    assert await stages.rejected({"namespace": "shop", "name": "web"}, user="mallory") == "Forbidden"
    assert not stages.asked


async def test_a_user_who_may_place_and_not_read_the_workload_learns_nothing_of_it(opened_desk):
    stages = Stages(opened_desk)
    await stages.serve()
    await opened_desk.scene.team.create(DEPLOYMENTS, deployment())
    await stages.decide({"placement": placement("web")})
    (asked,) = stages.asked
    assert asked.error == "requester may not get Deployment shop/web"
    assert not asked.workload


async def test_bad_input_is_answered_with_what_is_wrong(stages):
    assert await stages.rejected({"namespace": "shop"}) == "InvalidRequest"
    assert await stages.rejected({**inline(), "name": "web", "namespace": "shop"}) == "InvalidRequest"
    assert await stages.rejected({**inline(), "workspace": RIVAL}) == "NotTheSubjects"
    assert await stages.rejected({**inline(), "reserve": "soon"}) == "InvalidRequest"
    assert await stages.rejected({"placement": {"kind": "Placement"}}) == "InvalidRequest"
    assert await stages.rejected({"namespace": "shop", "name": "absent"}) == "NotFound"
    for garbage in (b"\xff", b"{}", b"[1", json.dumps({"id": "x"}).encode()):
        answer = await stages.put(garbage)
        assert data_of(answer)["code"] == "InvalidEvent"
    other = structured(request("place", inline(), inbox=""))
    assert data_of(await stages.put(other))["code"] == "InvalidEvent"


async def test_a_stage_that_cannot_answer_or_is_not_there_is_told(stages, opened_desk):
    stages.late = True
    answer = await stages.decide(inline())
    assert (data_of(answer)["code"], data_of(answer)["message"]) == ("Unavailable", "reservations are being rebuilt")


async def test_without_the_stages_there_is_an_answer_too(opened_desk):
    stages = Stages(opened_desk)
    await grant(opened_desk.scene.hub.cluster(TEAM), "alice", READING)
    assert await stages.rejected(inline()) == "Unavailable"


@asynccontextmanager
async def bounded(desk: Any, **bounds: int) -> AsyncIterator[None]:
    desk.settings = msgspec.structs.replace(desk.settings, **bounds)
    async with desk.open():
        yield


async def test_more_at_once_than_a_workspace_may_ask_is_refused(desk):
    async with bounded(desk, decide_workspace_concurrency=1):
        stages, release, entered = Stages(desk), asyncio.Event(), asyncio.Event()
        await grant(desk.scene.hub.cluster(TEAM), "alice", READING)

        async def hold(asked: Asked) -> Reply:
            entered.set()
            await release.wait()
            return Reply(asked.payload)

        await stages.bus.serve(Service(subject=Requested.asked_on(), group="slow"), hold)
        first = asyncio.create_task(stages.decide(inline()))
        await entered.wait()
        assert await stages.rejected(inline()) == "Busy"
        release.set()
        assert data_of(await first)["code"] == "Unavailable"  # nobody else is there


async def test_an_answer_that_no_message_holds_is_rejected_with_its_size(stages):
    stages.rationale = "x" * (1 << 20)
    answer = await stages.decide(inline())
    assert data_of(answer)["code"] == "TooLarge"
    assert "ask for fewer targets" in data_of(answer)["message"]


async def test_an_answer_of_a_stage_that_is_lost_on_its_way_is_told(stages):
    stages.lost = True
    answer = await stages.decide(inline())
    assert data_of(answer)["code"] == "Unavailable"
    assert "not in the object store" in data_of(answer)["message"]


async def test_a_copy_that_dies_with_questions_in_hand_has_them_answered_by_timeout_and_others_go_on(desk):
    async with bounded(desk, decide_seconds=1):
        stages, entered = Stages(desk), asyncio.Event()
        await grant(desk.scene.hub.cluster(TEAM), "alice", READING)
        await stages.serve()

        async def hang(asked: Asked) -> Reply:
            entered.set()
            await asyncio.Event().wait()
            return Reply(asked.payload)

        dying = await stages.bus.serve(Service(subject=Requested.asked_on(), group=Requested.stage), hang)
        asked = [asyncio.create_task(stages.decide(inline())) for _ in range(2 * MOST_TOGETHER)]
        await entered.wait()
        await dying.abandon()
        kinds = [(each.type.split(".")[-2], data_of(each).get("code")) for each in await asyncio.gather(*asked)]
        assert set(kinds) == {("answered", None), ("rejected", "Timeout")}
        assert all(each.type.endswith(".answered.v1") for each in [await stages.decide(inline()) for _ in range(6)])
