"""A running placement and the facts on its targets that decided: which change starts a round."""

from typing import Any

import msgspec
import pytest

from services.controller.core.eviction import Sighting, leaving_depends_on
from services.controller.core.observation import KnownDecision, whole
from services.controller.core.steps import Nothing, Place, next_step
from shared.hub.facts import UNSURE, facts_digest
from shared.model.request import Cause, PreviousChoice
from shared.model.target import Target
from tests.unit.controller.test_steps import T, observed, waiting

EU = Target(workspace="root:p", name="t", ready=True, labels={"region": "eu"})
READS = ("labels.region",)
CHANGED = Place(cause=Cause.of("TargetChanged", T))


def decided(seen: str | None = None, facts: tuple[str, ...] = READS) -> KnownDecision:
    digest = facts_digest(EU, READS) if seen is None else seen
    return KnownDecision(attempt=3, selected=(PreviousChoice(target=T),), facts=facts, seen={T: digest})


def step(target: Target | None, **more: Any) -> Any:
    sighting = Sighting(target=target) if target is not None else Sighting(missing_since=1e12)
    return next_step(observed(**{"decision": decided(), "targets": {T: sighting}, **more}))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, Nothing()),
        ({"labels": {"region": "us"}}, CHANGED),
        ({"labels": {}}, CHANGED),
        ({"labels": {"region": "eu", "other": "x"}}, Nothing()),
        ({"kubernetes_version": "v1.40.0"}, Nothing()),
    ],
)
def test_a_fact_that_decided_and_is_otherwise_now_starts_a_round(change: dict[str, Any], expected: Any) -> None:
    assert step(msgspec.structs.replace(EU, **change)) == expected


def test_what_a_rule_may_have_seen_otherwise_is_decided_anew() -> None:
    assert step(EU, decision=decided(UNSURE)) == CHANGED


def test_one_that_an_earlier_version_decided_is_left_alone() -> None:
    assert step(msgspec.structs.replace(EU, labels={}), decision=decided("", ())) == Nothing()


def test_of_a_target_that_is_lost_or_gone_nothing_is_compared() -> None:
    assert step(msgspec.structs.replace(EU, labels={}, lost_since=99_990.0)) == Nothing()
    assert step(None) == Nothing()


def test_one_that_was_refused_since_waits_for_its_next_try() -> None:
    found = step(msgspec.structs.replace(EU, labels={}), waiting=waiting())
    assert not isinstance(found, Place)


def test_a_change_of_any_fact_has_those_on_the_target_looked_at_and_a_change_of_load_does_not() -> None:
    same = leaving_depends_on(EU)
    assert leaving_depends_on(msgspec.structs.replace(EU, labels={})) != same
    assert leaving_depends_on(msgspec.structs.replace(EU, usage={"cpu": 1.0}, allocated={"cpu": 1.0})) == same


def test_a_decision_in_slices_has_the_facts_of_all_its_targets() -> None:
    first = KnownDecision(attempt=1, revision="r", slices=2, facts=READS, seen={"a": "1"})
    second = KnownDecision(attempt=1, revision="r", slices=2, slice_of="web", facts=READS, seen={"b": "2"})
    joined = whole("web", first, lambda _: second)
    assert (joined.facts, joined.seen) == (READS, {"a": "1", "b": "2"})
