"""What the demo concludes from the objects that it has seen."""

import pytest

from services.cli.demo.picture import STAGES, DemoPicture, figures, put
from shared.model.refs import PlacementRef
from shared.pipeline.messages import Bound, Requested
from tests.unit.cli.demo.pictures import PLATFORM, REF, binding, cluster, decision, key, picture, placement, running

EU, US = f"{PLATFORM}/eu", f"{PLATFORM}/us"


def test_stages_are_those_that_every_placement_passes():
    assert STAGES == ("requested", "discovered", "evaluated", "scheduled", "decided", "bound", "reported")


def test_a_placement_is_waiting_until_something_is_decided():
    seen = picture(cluster("eu"))
    assert seen.state(REF) == "waiting"
    seen.placements[REF] = placement()
    assert seen.state(REF) == "waiting"
    assert not seen.finished()


def test_it_is_binding_until_its_own_status_says_healthy_everywhere():
    seen = picture(cluster("eu"), cluster("us"))
    seen.saw_decision(REF, decision("eu", "us"), 11.0)
    assert seen.state(REF) == "binding"
    seen.placements[REF] = placement(health={"eu": "Healthy"})
    assert seen.state(REF) == "binding"
    seen.placements[REF] = placement(health={"eu": "Healthy", "us": "Progressing"})
    assert seen.state(REF) == "binding"
    assert not seen.finished()
    seen.placements[REF] = placement(health={"eu": "Healthy", "us": "Healthy"})
    assert seen.state(REF) == "running"
    assert seen.finished()


def test_health_in_a_cluster_that_is_no_longer_chosen_does_not_count():
    seen = running("eu")
    seen.placements[REF] = placement(health={"eu": "Healthy", "us": "Unknown"})
    assert seen.state(REF) == "running"


def test_a_refusal_finishes_it_once_the_placement_says_why():
    seen = picture(cluster("eu"))
    seen.saw_decision(REF, decision(), 11.0)
    assert seen.state(REF) == "refused"
    assert not seen.finished()
    seen.placements[REF] = placement(refusal="0/1 targets: 1 insufficient cpu")
    assert seen.finished()
    assert seen.refusal(REF) == "0/1 targets: 1 insufficient cpu"


def test_the_time_to_a_decision_is_that_to_the_first_one():
    seen = picture(cluster("eu"))
    seen.saw_decision(REF, decision("eu"), 10.5)
    seen.saw_decision(REF, decision("us"), 99.0)
    assert seen.latencies() == [0.5]


def test_messages_are_counted_once_per_placement_and_stage():
    seen = DemoPicture()
    subject = f"moorage.pipeline.{Requested.stage}.root=3Ashop.shop.web"
    for each in (subject, subject, f"moorage.pipeline.{Bound.stage}.root=3Ashop.shop.web.eu", "moorage.pipeline.odd"):
        seen.heard(each)
    assert seen.stages["requested"] == {REF}
    assert seen.stages["bound"] == {REF}
    assert seen.messages == 4


@pytest.mark.parametrize(
    ("patience", "expected"),
    [
        pytest.param(None, EU, id="the one with most placements"),
        pytest.param(30, US, id="not one whose placements wait too long"),
        pytest.param(1, EU, id="a short wait is no obstacle"),
    ],
)
def test_the_victim_is_the_cluster_whose_loss_moves_most(patience, expected):
    seen = picture(cluster("eu"), cluster("us"), cluster("idle"))
    other, third = key("other"), key("third")
    seen.created.update({other: 1.0, third: 1.0})
    seen.saw_decision(REF, decision("eu"), 11.0)
    seen.saw_decision(other, decision("eu"), 11.0)
    seen.saw_decision(third, decision("us"), 11.0)
    seen.placements.update({REF: placement(patience=patience), other: placement(), third: placement()})
    assert seen.victim(5.0) == expected


def test_there_is_no_victim_where_nothing_runs():
    assert picture(cluster("eu")).victim(5.0) == ""


def test_a_cluster_is_ready_when_its_status_says_so():
    seen = picture(cluster("eu"), cluster("us", ready=False))
    assert [seen.ready(each) for each in (EU, US, "root:nowhere/none")] == [True, False, False]


def test_objects_count_where_it_is_placed_and_bindings_are_found_by_cluster():
    seen = running("eu")
    seen.bindings[key("web-us")] = binding("us", "Deployment", phase="Removing")
    foreign = PlacementRef(workspace="root:other", namespace="shop", name="web-eu")
    seen.bindings[foreign] = binding("eu", "Deployment")
    assert seen.objects(REF) == 3
    assert [one.status.phase for one in seen.bound_on(US, [REF])] == ["Removing"]
    assert len(seen.bindings_of(REF)) == 2


def test_figures_of_a_picture():
    found = figures(running("eu", "us"), restarts=1, seconds=20.0)
    assert (found.placements, found.refused, found.bindings, found.objects) == (1, 0, 2, 6)
    assert (found.decided_median, found.decided_most, found.restarts) == (0.25, 0.25, 1)


def test_figures_of_nothing():
    found = figures(DemoPicture(), restarts=0, seconds=1.0)
    assert (found.placements, found.decided_median, found.decided_most) == (0, 0.0, 0.0)


def test_what_is_gone_is_forgotten():
    table = {"a": 1}
    put(table, "a", None)
    put(table, "b", 2)
    put(table, "c", None)
    assert table == {"b": 2}
