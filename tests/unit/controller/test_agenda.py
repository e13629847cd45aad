"""The sweep looks at those that something changed for, those whose time has come, and nobody else."""

import math

import pytest

from services.controller.agenda import LONGEST, Agenda
from services.controller.core.waking import Wake
from shared.model.refs import PlacementRef

A, B = (PlacementRef(workspace="root:team", namespace="shop", name=name) for name in "ab")
NEVER = Wake(math.inf)


@pytest.fixture
def agenda() -> Agenda:
    """Both are looked at, at 0.0, and have nothing to do; A is on t."""
    agenda = Agenda()
    agenda.put(A, NEVER, 0.0, ["t"])
    agenda.put(B, NEVER, 0.0, ["u"])
    return agenda


def due(agenda: Agenda, now: float = 1.0, *, world: bool = False) -> set[PlacementRef]:
    return set(agenda.due(now, world_changed=world))


def test_who_sleeps_is_not_looked_at(agenda: Agenda) -> None:
    assert due(agenda, world=True) == set()


def test_who_is_touched_is_due_until_it_is_looked_at(agenda: Agenda) -> None:
    agenda.touch(A)
    assert due(agenda) == due(agenda) == {A}
    agenda.put(A, NEVER, 1.0, ["t"])
    assert due(agenda) == set()


def test_who_is_on_a_target_is_due_when_that_changes(agenda: Agenda) -> None:
    agenda.touch_on("t")
    agenda.touch_on("unknown")
    assert due(agenda) == {A}
    agenda.put(A, NEVER, 1.0, ["u"])
    agenda.touch_on("t")
    assert due(agenda) == set()


def test_who_wakes_is_due(agenda: Agenda) -> None:
    agenda.put(A, Wake(5.0), 1.0, ["t"])
    assert due(agenda, 4.0) == set()
    assert due(agenda, 6.0) == {A}
    agenda.put(A, Wake(6.0), 6.0, ["t"])
    assert due(agenda, 6.1) == {A}, "never left alone"


def test_who_waits_for_a_change_of_the_world_is_due_then(agenda: Agenda) -> None:
    agenda.put(B, Wake(math.inf, by_world=True), 1.0, ())
    assert due(agenda) == set()
    assert due(agenda, world=True) == {B}


def test_everybody_is_due_after_a_while_and_when_the_clock_was_set_back(agenda: Agenda) -> None:
    assert due(agenda, LONGEST + 1) == {A, B}
    agenda.put(A, NEVER, 10_000.0, ())
    agenda.put(B, NEVER, 10_000.0, ())
    assert due(agenda, 1.0) == {A, B}


def test_all_are_touched_but_those_that_are_forgotten(agenda: Agenda) -> None:
    agenda.forget(A)
    agenda.touch_all()
    assert due(agenda) == {B}
    agenda.forget(B)
    agenda.touch_on("u")
    assert due(agenda, 10_000.0, world=True) == set()
    assert not any(vars(agenda).values()), "nothing is kept of them"
