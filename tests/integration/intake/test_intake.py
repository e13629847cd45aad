"""Requests on the bus become Placements on the hub, in the name of who asked, and are answered once in effect."""

import json

import pytest

from shared.hub.resources import PLACEMENTS
from shared.kube.resources import DEPLOYMENTS
from tests.support.asking import INBOX, data_of, place, request, withdraw
from tests.support.client import if_there
from tests.support.manifests import deployment, placement
from tests.support.scene import RIVAL, TEAM
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(120)


async def test_a_request_becomes_a_placement_of_who_asked_and_is_answered(opened_desk):
    alice = opened_desk.alice
    answer = await alice.ask(place("web"))
    found = await opened_desk.scene.team.get(PLACEMENTS, "web", "shop")
    assert answer.type == "io.moorage.placement.accepted.v1"
    assert answer.subject == f"{TEAM}/shop/web"
    data = data_of(answer)
    assert (data["uid"], data["generation"]) == (found["metadata"]["uid"], 1)
    assert data["request"]["source"] == "/tests"
    assert data["events"] == "moorage.events.root=3Ateam.shop.web.>"
    assert json.loads(await opened_desk.requester()) == {
        "username": "alice",
        "groups": ["team", "system:authenticated"],
    }
    assert alice.told() == [answer]
    assert alice.told("moorage.answers.root=3Ateam.somebody.1") == [answer]


async def test_another_request_changes_it_and_what_it_leaves_out_goes(opened_desk):
    alice, team = opened_desk.alice, opened_desk.scene.team
    first = placement("web")
    first["metadata"]["labels"] = {"tier": "front"}
    await alice.ask(request("place", first))
    answer = await alice.ask(place("web", priority=7))
    found = await team.get(PLACEMENTS, "web", "shop")
    assert found["spec"]["priority"] == 7
    assert "labels" not in found["metadata"]
    assert data_of(answer)["generation"] == 2


async def test_objects_come_along(opened_desk):
    scene = opened_desk.scene
    await opened_desk.alice.ask(request("place", {"placement": placement("web"), "objects": [deployment()]}))
    assert await scene.team.get(DEPLOYMENTS, "web", "shop")


async def test_a_placement_is_withdrawn_and_one_that_is_not_there_is_so_already(opened_desk):
    alice, team = opened_desk.alice, opened_desk.scene.team
    await alice.ask(place("web"))
    answer = await alice.ask(withdraw("web"), "withdraw")
    found = await if_there(team.get(PLACEMENTS, "web", "shop"))
    assert found is None or found["metadata"]["deletionTimestamp"]
    assert answer.type.endswith(".accepted.v1")
    again = await alice.ask(withdraw("other"), "withdraw")
    assert again.type.endswith(".accepted.v1")
    assert "uid" not in data_of(again)


async def test_a_request_that_comes_twice_has_one_effect_and_the_same_answer(opened_desk):
    alice, team = opened_desk.alice, opened_desk.scene.team
    once = place("web", id="same")
    answer = await alice.ask(once)
    await alice.ask(place("web", priority=7))
    await alice.publish(once)
    await until(lambda: _length(alice.told(), 3))
    assert alice.told()[2] == answer
    assert (await team.get(PLACEMENTS, "web", "shop"))["spec"]["priority"] == 7


async def _length(found, wanted):
    return len(found) == wanted


async def test_an_id_that_is_used_for_something_else_is_refused_and_says_which_came_first(opened_desk):
    alice = opened_desk.alice
    await alice.ask(place("web", id="same"))
    data = data_of(await alice.ask(place("api", id="same")))
    assert data["code"] == "IdInUse"
    assert f"place {TEAM}/shop/web that came first" in data["message"]
    assert "(number 1 of the stream)" in data["message"]


async def test_ids_are_the_publishers_own_so_that_nobody_takes_anothers(desk):
    async with desk.open():
        await desk.alice.ask(place("web", id="same"))
        answer = await desk.alice.ask(place("api", id="same"), user="mallory")
    assert data_of(answer)["code"] == "Forbidden"


async def test_who_has_no_rights_there_is_refused_by_the_hub_answered_and_parked(opened_desk):
    alice = opened_desk.alice
    data = data_of(await alice.ask(place("web"), user="mallory"))
    assert data["code"] == "Forbidden"
    assert "mallory may not patch placements" in data["message"]
    assert await if_there(opened_desk.scene.team.get(PLACEMENTS, "web", "shop")) is None
    elsewhere = data_of(await alice.ask(place("web"), workspace=RIVAL))
    assert elsewhere["code"] == "Forbidden"
    await until(lambda: _parked(alice, 2))
    assert all(cause.startswith("Forbidden: ") for cause in await alice.dead())


async def _parked(publisher, wanted):
    return len(await publisher.dead()) == wanted


async def test_who_is_not_mapped_is_refused_before_anything_is_asked(opened_desk):
    data = data_of(await opened_desk.alice.ask(place("web"), user="stranger"))
    assert data["code"] == "UnknownUser"


async def test_a_workspace_that_does_not_exist_is_said_to_be_none(opened_desk):
    data = data_of(await opened_desk.alice.ask(place("web"), workspace="root:nowhere"))
    assert (data["code"], data["message"]) == ("NotFound", "there is no workspace root:nowhere")


async def test_what_the_hub_does_not_admit_is_refused_in_its_own_words(opened_desk):
    alice = opened_desk.alice
    data = data_of(await alice.ask(place("web", priority="high")))
    assert data["code"] == "InvalidRequest"
    assert "spec.priority" in data["message"]
    await until(lambda: _parked(alice, 1))
    assert INBOX in [each.subject for each in alice.bus.broker.told]
