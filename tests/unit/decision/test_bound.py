"""What has to be reserved again after a loss: by decisions, by bindings, and by both."""

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.decision import bound
from services.decision.rebuild import restored
from shared.api import (
    ObjectMeta,
    Placement,
    PlacementBinding,
    PlacementBindingSpec,
    PlacementReference,
    PlacementSpec,
    TargetReference,
)
from shared.hub.names import ATTEMPT_ANNOTATION
from shared.model.decision import Reservation
from shared.model.refs import PlacementRef
from shared.model.resources import Resources
from tests.support.values import head
from tests.unit.decision.ledgers import wants

REF = PlacementRef(workspace="root:team", namespace="apps", name="web")
PLACEMENT = Placement(
    metadata=ObjectMeta(name="web", labels={"app": "web"}), spec=PlacementSpec(deletion_policy="Orphan")
)


def binding(
    attempt: str, reserved: Resources, shrinks_to: Resources | None = None, *, applied: bool = False, **status: Any
) -> PlacementBinding:
    made = PlacementBinding(
        metadata=ObjectMeta(
            name="web-x", namespace="apps", generation=2, annotations={ATTEMPT_ANNOTATION: attempt} if attempt else {}
        ),
        spec=PlacementBindingSpec(
            placement_ref=PlacementReference(name="web", namespace="apps", uid="u"),
            target=TargetReference(workspace="root:p", name="x"),
            reserved=reserved,
            shrinks_to=shrinks_to,
        ),
    )
    said = {"phase": "Ready", "observed_generation": 2} if applied else {"phase": "Applying", "observed_generation": 1}
    return msgspec.structs.replace(made, status=msgspec.structs.replace(made.status, **said, **status))


def reserved(*args: Any, **more: Any) -> Reservation:
    return bound.reserved(binding(*args, **more), "root:team", PLACEMENT)


def test_a_binding_reserves_what_ran_before_until_it_is_applied() -> None:
    found = reserved("3", {"cpu": 5.0}, {"cpu": 3.0})
    assert (found.placement, found.head.attempt, found.head.uid) == (REF, 3, "u")
    assert (found.resources, found.shrinks_to) == ({"cpu": 5.0}, {"cpu": 3.0})
    assert (found.labels, found.orphan) == ({"app": "web"}, True)
    done = reserved("3", {"cpu": 5.0}, {"cpu": 3.0}, applied=True)
    assert (done.resources, done.shrinks_to) == ({"cpu": 3.0}, None)


def test_a_binding_that_does_not_say_holds_its_place_with_nothing_and_one_below_zero_frees_nothing() -> None:
    found = reserved("", {})
    assert (found.resources, found.shrinks_to, found.head.attempt) == ({}, None, 0)
    assert reserved("1", {"cpu": -3.0, "memory": 1.0}).resources == {"memory": 1.0}


@pytest.mark.parametrize(("applied", "attempt"), [(True, 4), (False, 0)])
def test_an_attempt_counts_as_applied_where_the_status_is_of_the_spec(applied: bool, attempt: int) -> None:
    assert bound.applied(binding("4", {}, applied=applied)) == attempt


@pytest.mark.parametrize(
    ("told", "resources", "shrinks_to", "attempt"),
    [
        pytest.param([reserved("1", {"cpu": 3.0})], {"cpu": 3.0}, None, 1, id="bound, and decided nowhere"),
        pytest.param(
            [reserved("1", {"cpu": 3.0}), wants(REF, head(2), {"cpu": 1.0})],
            {"cpu": 3.0},
            {"cpu": 1.0},
            2,
            id="decided smaller, not told to binding yet",
        ),
        pytest.param(
            [reserved("2", {"cpu": 3.0}, {"cpu": 1.0}), wants(REF, head(2), {"cpu": 1.0})],
            {"cpu": 3.0},
            {"cpu": 1.0},
            2,
            id="being applied smaller",
        ),
        pytest.param(
            [reserved("2", {"cpu": 3.0}, {"cpu": 1.0}, applied=True), wants(REF, head(2), {"cpu": 1.0})],
            {"cpu": 1.0},
            None,
            2,
            id="applied smaller",
        ),
        pytest.param(
            [reserved("2", {"cpu": 3.0}, {"cpu": 1.0}, applied=True), wants(REF, head(3), {"cpu": 2.0})],
            {"cpu": 2.0},
            None,
            3,
            id="decided bigger",
        ),
        pytest.param(
            [reserved("3", {"cpu": 1.0}), wants(REF, head(2), {"cpu": 2.0})],
            {"cpu": 2.0},
            {"cpu": 1.0},
            3,
            id="bound for a newer attempt than was listed",
        ),
    ],
)
def test_what_is_bound_and_what_is_decided_count_together_in_any_order(
    told: list[Reservation], resources: Resources, shrinks_to: Resources | None, attempt: int
) -> None:
    for order in itertools.permutations(told):
        found: Reservation | None = None
        for each in (*order, *order):
            found = restored(found, each)
        assert found is not None
        assert (found.resources, found.shrinks_to, found.head.attempt) == (resources, shrinks_to, attempt)


def fact(attempt: int, most: float, less: float | None) -> Reservation:
    smaller = None if less is None or less >= most else {"cpu": less}
    return msgspec.structs.replace(wants(REF, head(attempt), {"cpu": most}), shrinks_to=smaller)


amounts = st.sampled_from([0.0, 1.0, 2.0, 3.0])
facts = st.builds(fact, st.integers(1, 4), amounts, st.one_of(st.none(), amounts))


@given(st.lists(facts, min_size=1, max_size=6))
def test_whatever_is_read_back_never_less_is_held_than_any_of_it_and_the_newest_attempt_stays(
    told: list[Reservation],
) -> None:
    found: Reservation | None = None
    for each in told:
        found = restored(found, each)
    assert found is not None
    assert found.resources["cpu"] == max(each.resources["cpu"] for each in told)
    assert found.head.attempt == max(each.head.attempt for each in told)
