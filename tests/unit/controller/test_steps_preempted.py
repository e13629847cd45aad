"""The next step of a placement that has to leave targets for others."""

import msgspec

from services.controller.core.eviction import Sighting
from services.controller.core.observation import KnownDecision
from services.controller.core.steps import Nothing, Place, Wait, preempted_from
from services.controller.core.waking import wake
from shared.model.preemption import Victim
from shared.model.refs import PlacementRef
from shared.model.request import Cause, PreviousChoice, Waiting
from shared.model.target import Target
from tests.unit.controller.test_steps import NOW, OVERDUE, THERE, T, U, entry, observed, placement, step
from tests.unit.controller.test_steps_moves import ON_ALL, V

FOR = "another placement"
PREEMPTED = Sighting(target=Target(workspace="root:p", name="t", ready=True), preempted=FOR)
LEAVES = Place(cause=Cause.of("Preempted", f"{T} for {FOR}"), leaving=(T,))


def test_who_is_preempted_is_decided_anew_at_once_and_once() -> None:
    assert step(targets={T: PREEMPTED}) == LEAVES
    assert step(targets={T: PREEMPTED}, entry=entry(leaving=(T,))) == Nothing()
    assert step(targets={T: PREEMPTED}, entry=entry(leaving=(T,), at=OVERDUE)) == LEAVES


def test_so_is_who_waits_for_room_and_runs_somewhere_still() -> None:
    ref = PlacementRef(workspace="root:w", namespace="n", name="p")
    waits = Waiting(placement=ref, head=entry().head, since=NOW, tries=1, tried_at=NOW, next_try=NOW + 60)
    assert isinstance(step(waiting=waits), Wait)
    assert step(targets={T: PREEMPTED}, waiting=waits) == LEAVES
    assert isinstance(step(targets={T: PREEMPTED}, waiting=waits, entry=entry(leaving=(T,))), Wait)


def test_it_leaves_as_many_targets_at_a_time_as_its_budget_is() -> None:
    there = {each: msgspec.structs.replace(PREEMPTED, target=Target(workspace="root:p", name=each)) for each in (T, U)}
    budget = placement(stability={"disruptionBudget": 1})
    found = step(placement=budget, decision=ON_ALL, targets={**there, V: THERE})
    assert isinstance(found, Place)
    assert found.leaving == (T,)
    seen = observed(placement=budget, decision=ON_ALL, targets={**there, V: THERE})
    assert preempted_from(seen, found.leaving) == {T: FOR}, "in the other one it may stay for now"


def test_what_it_left_for_others_it_does_not_come_back_to() -> None:
    elsewhere = KnownDecision(attempt=3, selected=(PreviousChoice(target=U),))
    seen = observed(decision=elsewhere, targets={T: PREEMPTED, U: THERE}, attempts={T: 3, U: 3})
    assert preempted_from(seen, ()) == {T: FOR}


def test_it_is_looked_at_again_for_as_long_as_it_is_there() -> None:
    assert wake(observed(targets={T: PREEMPTED}, entry=entry(leaving=(T,)))).at == NOW


def test_only_those_of_a_namespace_learn_of_each_other() -> None:
    home = PlacementRef(workspace="root:w", namespace="n", name="victim")
    near = PlacementRef(workspace="root:w", namespace="n", name="near")
    beside = PlacementRef(workspace="root:w", namespace="other", name="secret-a")
    strange = PlacementRef(workspace="root:x", namespace="n", name="secret-b")

    def said(*by: PlacementRef) -> str:
        return Victim(placement=home, target=T, by=by).said_of(home)

    assert said(near) == "placement near"
    assert said(beside) == "another placement"
    assert said(near, beside, strange) == "placement near and 2 other placements"


def test_what_is_selected_elsewhere_is_no_reason_to_leave() -> None:
    elsewhere = KnownDecision(attempt=3, selected=(PreviousChoice(target=U),))
    assert step(decision=elsewhere, targets={T: PREEMPTED, U: THERE}, attempts={T: 3, U: 3}) != LEAVES
