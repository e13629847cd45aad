"""Health of a placement, in one target and over all of them."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.status.health import TargetState, Thresholds, overall_health, states, target_health
from services.status.settings import StatusSettings
from shared.model.report import ObjectHealth
from tests.unit.status.samples import (
    EAST,
    USUAL,
    WEST,
    decision,
    many,
    one,
    report,
    state,
)

HEALTHS = ("Healthy", "Progressing", "Degraded", "Unhealthy", "Unknown")


@pytest.mark.parametrize(
    ("objects", "health"),
    [
        ([], "Healthy"),
        (many(Healthy=3), "Healthy"),
        (many(Healthy=9, Progressing=1), "Progressing"),
        (many(Healthy=9, Unknown=1), "Progressing"),
        (many(Healthy=1, Unknown=1), "Unknown"),
        (many(Healthy=7, Unhealthy=3), "Unhealthy"),
        (many(Healthy=8, Unhealthy=2), "Degraded"),
        ([one("Degraded", 10, 10)], "Healthy"),
        ([one("Degraded", 10, 9)], "Healthy"),
        ([one("Degraded", 10, 8)], "Degraded"),
        ([one("Degraded", 10, 5)], "Degraded"),
        ([one("Degraded", 10, 4)], "Unhealthy"),
        ([one("Degraded", 1, 0), one("Healthy", 99, 99)], "Healthy"),
        ([one("Degraded", 0, 0)], "Healthy"),
    ],
)
def test_a_target_is_as_healthy_as_the_shares_of_its_objects(objects: list[ObjectHealth], health: str) -> None:
    assert target_health(objects, USUAL)[0] == health


def test_the_worst_object_says_why() -> None:
    found = target_health([one("Progressing", name="slow"), one("Unhealthy", name="dead")], USUAL)
    assert found == ("Unhealthy", "Deployment shop/dead: why")
    assert target_health([ObjectHealth(ref="v1 Service shop/s", health="Unknown")], USUAL) == (
        "Unknown",
        "Service shop/s is Unknown",
    )


@pytest.mark.parametrize(
    ("targets", "health"),
    [
        ([state()], "Healthy"),
        ([state(), state("Progressing")], "Progressing"),
        ([state(), state("Unknown")], "Progressing"),
        ([state(), state(), state(), state("Unknown", silent="lost")], "Degraded"),
        ([state(), state("Unknown", silent="lost")], "Unknown"),
        ([state(), state(), state("Unhealthy")], "Unhealthy"),
        ([state(), state(), state(), state("Unhealthy")], "Degraded"),
        ([state(), state("Degraded")], "Degraded"),
    ],
)
def test_a_placement_is_as_healthy_as_the_shares_of_its_targets(targets: list[TargetState], health: str) -> None:
    assert overall_health(targets, USUAL) == health


@given(st.lists(st.sampled_from(HEALTHS), max_size=12))
def test_health_does_not_depend_on_order(healths: list[str]) -> None:
    objects = [one(health, 2, 1, name=str(number)) for number, health in enumerate(healths)]
    assert target_health(objects, USUAL)[0] == target_health(objects[::-1], USUAL)[0]
    targets = [state(health) for health in healths]
    assert overall_health(targets, USUAL) == overall_health(targets[::-1], USUAL)


@given(st.lists(st.sampled_from(HEALTHS), min_size=1, max_size=12))
def test_all_healthy_is_healthy_and_nothing_else_is(healths: list[str]) -> None:
    objects = [one(health, 1, int(health == "Healthy"), name=str(number)) for number, health in enumerate(healths)]
    strict = Thresholds(ready_degraded=1.0)
    assert (target_health(objects, strict)[0] == "Healthy") is (set(healths) == {"Healthy"})


def test_targets_are_those_selected_in_order_then_those_that_are_left() -> None:
    reports = [report(EAST, "Removing"), report(WEST, "Applied", one("Healthy"))]
    found = states(decision(WEST, "root:platform/north"), reports, {EAST: "Lost."}, USUAL)
    assert [(each.id, each.selected, each.phase, each.health, each.replicas) for each in found] == [
        (WEST, True, "Ready", "Healthy", 2),
        ("root:platform/north", True, "Pending", "Unknown", 2),
        (EAST, False, "Removing", "Unknown", None),
    ]
    assert [each.message for each in found] == ["", "Nothing is applied yet.", "Lost."]


@pytest.mark.parametrize(
    ("phase", "objects", "health", "message"),
    [
        ("Failed", (), "Unhealthy", "no rights"),
        ("Failed", (one("Healthy"),), "Healthy", "no rights"),
        ("Applying", (), "Healthy", "no rights"),
        ("Applied", (one("Unhealthy"),), "Unhealthy", "Deployment shop/web: why"),
    ],
)
def test_a_failed_binding_says_why_and_keeps_the_health_of_what_runs(
    phase: str, objects: tuple[ObjectHealth, ...], health: str, message: str
) -> None:
    (found,) = states(decision(EAST), [report(EAST, phase, *objects, message="no rights")], {}, USUAL)
    assert (found.health, found.message) == (health, message)


@pytest.mark.parametrize(
    ("healths", "silent", "phase"),
    [
        ((), "", "Ready"),
        (("Healthy", "Healthy"), "", "Ready"),
        (("Healthy", "Progressing"), "", "Applied"),
        (("Healthy", "Unknown"), "", "Applied"),
        (("Healthy", "Degraded", "Unknown"), "", "Degraded"),
        (("Healthy", "Unhealthy"), "", "Degraded"),
        (("Healthy",), "Lost.", "Applied"),
    ],
)
def test_a_target_has_the_phase_that_its_binding_has(healths: tuple[str, ...], silent: str, phase: str) -> None:
    reports = [report(EAST, "Applied", *(one(health, name=str(at)) for at, health in enumerate(healths)))]
    (found,) = states(decision(EAST), reports, {EAST: silent} if silent else {}, USUAL)
    assert (found.phase, found.applied) == (phase, True)


def test_thresholds_come_from_the_settings() -> None:
    settings = StatusSettings(unhealthy_share=0.1, ready_unhealthy_share=0.2, ready_degraded_share=0.3, stale_share=0.4)
    assert msgspec.structs.astuple(settings.thresholds) == (0.1, 0.2, 0.3, 0.4)
