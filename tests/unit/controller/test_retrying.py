"""When a placement that could not be decided is tried again."""

import pytest

from services.controller.core.retrying import due, wait
from shared.model.refs import PlacementRef
from shared.model.request import Waiting
from tests.support.values import head

REF = PlacementRef(workspace="root:a", namespace="n", name="p")


def waiting(tries: int = 1, tried_at: float = 100.0, next_try: float = 110.0, **fields) -> Waiting:
    return Waiting(
        placement=REF, head=fields.get("head", head()), since=50.0, tries=tries, tried_at=tried_at, next_try=next_try
    )


@pytest.mark.parametrize(
    ("room", "changed_at", "now", "expected"),
    [
        (waiting(), 0.0, 109.9, False),
        (waiting(), 0.0, 110.0, True),
        (waiting(), 98.9, 109.9, False),
        (waiting(), 99.5, 101.0, True),
        (waiting(), 100.5, 100.6, False),
        (waiting(), 100.5, 101.0, True),
        (waiting(tries=5), 100.5, 110.0, True),
        (waiting(tries=5, next_try=500.0), 100.5, 115.9, False),
        (waiting(tries=5, next_try=500.0), 100.5, 116.0, True),
        (waiting(tries=50, next_try=500.0), 100.5, 130.0, True),
        (waiting(tries=100_000, next_try=500.0), 100.5, 130.0, True),
    ],
)
def test_waiting_ends_in_time_or_soon_after_a_change_that_may_help(room, changed_at, now, expected):
    assert due(room, changed_at, now) is expected


def test_waiting_grows_up_to_its_bound_and_starts_anew_for_another_object():
    room = None
    delays = []
    for attempt in range(1, 9):
        room = wait(REF, head(attempt), room, 99.0, 100.0, contended=False, first=10.0, most=300.0)
        delays.append(room.next_try - 100.0)
    assert delays == [10, 20, 40, 80, 160, 300, 300, 300]
    assert room.since == 100.0
    anew = wait(REF, head(1, uid="v"), room, 199.0, 200.0, contended=False, first=10.0, most=300.0)
    assert (anew.tries, anew.since, anew.next_try) == (1, 200.0, 210.0)


@pytest.mark.parametrize("contended", [True, False])
def test_waiting_has_no_last_try(contended):
    room = wait(REF, head(), waiting(tries=100_000), 99.0, 100.0, contended=contended, first=10.0, most=300.0)
    assert room.next_try == (105.0 if contended else 400.0)


def test_who_lost_a_race_comes_again_within_moments():
    room = wait(REF, head(), None, 99.0, 100.0, contended=True, first=10.0, most=300.0)
    assert room.next_try == pytest.approx(100.2)


@pytest.mark.parametrize(("changed_at", "expected"), [(97.9, False), (98.1, True), (99.1, True), (100.1, True)])
def test_what_changes_while_a_round_is_under_way_or_just_before_counts_as_a_change_after_it(changed_at, expected):
    room = wait(REF, head(), None, 99.0, 100.0, contended=False, first=10.0, most=300.0)
    assert due(room, changed_at, 101.0) is expected
