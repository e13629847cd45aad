"""What `moorage top` makes of two looks at NATS."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli.diagnosing.load import Look, QueueLook, picture
from services.cli.diagnosing.screen import screen
from shared.model.decision import Reservation
from shared.model.refs import Head, PlacementRef
from shared.model.target import Target

GIB = float(1 << 30)


def queue(delivered: int = 0, **more: Any) -> QueueLook:
    fields = {"worker": "scheduler", "consumer": "scheduler-evaluated", "waiting": 0, "in_hand": 0, **more}
    return QueueLook(delivered=delivered, **fields)


def look(at: float, *queues: QueueLook, targets: Any = (), reservations: Any = ()) -> Look:
    return Look(at=at, queues=queues, copies={"decision": 2}, targets=tuple(targets), reservations=tuple(reservations))


def target(name: str, cpu: float = 8.0, **more: Any) -> Target:
    return Target(workspace="root:p", name=name, allocatable={"cpu": cpu, "memory": 32 * GIB}, ready=True, **more)


def reserved(name: str, cpu: float, released_at: float = 0.0) -> Reservation:
    ref = PlacementRef(workspace="root:t", namespace="apps", name=name)
    head = Head(uid="u", generation=1, attempt=1)
    resources = {} if released_at else {"cpu": cpu, "memory": GIB}
    return Reservation(placement=ref, head=head, resources=resources, released_at=released_at)


def test_the_rate_is_what_was_delivered_between_two_looks() -> None:
    (row,) = picture(look(12.0, queue(70)), look(10.0, queue(20))).queues
    assert row.per_second == 25.0


@pytest.mark.parametrize("before", [None, look(10.0), look(10.0, queue(80)), look(12.0, queue(20))])
def test_there_is_no_rate_without_a_look_before_that_it_can_be_compared_with(before: Look | None) -> None:
    (row,) = picture(look(12.0, queue(70)), before).queues
    assert row.per_second is None


def test_copies_are_of_those_workers_that_tell_them() -> None:
    found = picture(look(1.0, queue(), queue(worker="decision", consumer="decision-scheduled"))).queues
    assert [each.copies for each in found] == [0, 2]


def test_what_others_take_counts_beside_what_is_reserved_and_the_fullest_comes_first() -> None:
    targets = [target("roomy"), target("full", allocated={"cpu": 2.0}), target("unknown", cpu=0.0)]
    reservations = [
        ("root:p/full", reserved("a", 4.0)),
        ("root:p/full", reserved("b", 1.0)),
        ("root:p/roomy", reserved("gone", 4.0, released_at=5.0)),
    ]
    full, unknown, roomy = sorted(
        picture(look(1.0, targets=targets, reservations=reservations)).targets,
        key=lambda row: row.target == "root:p/roomy",
    )
    assert (full.target, full.placements, full.taken["cpu"], full.free["cpu"]) == ("root:p/full", 2, 0.875, 1.0)
    assert (roomy.placements, roomy.taken["cpu"]) == (0, 0.0)
    assert "cpu" not in unknown.taken


@pytest.mark.parametrize(
    ("seen", "state"),
    [
        ({}, "Ready"),
        ({"unschedulable": True}, "Cordoned"),
        ({"lost_since": 5.0, "unschedulable": True}, "Lost"),
    ],
)
def test_the_state_says_what_matters_most(seen: dict[str, Any], state: str) -> None:
    (row,) = picture(look(1.0, targets=[target("t", **seen)])).targets
    assert row.state == state


@given(st.lists(st.tuples(st.floats(0.5, 64), st.floats(0, 64), st.floats(0, 64)), max_size=8))
def test_what_is_taken_and_what_is_free_make_up_the_whole(found: list[tuple[float, float, float]]) -> None:
    targets = [target(str(n), cpu, allocated={"cpu": others}) for n, (cpu, others, _) in enumerate(found)]
    reservations = [(f"root:p/{n}", reserved("a", ours)) for n, (_, _, ours) in enumerate(found)]
    rows = picture(look(1.0, targets=targets, reservations=reservations)).targets
    assert [row.fullest for row in rows] == sorted((row.fullest for row in rows), reverse=True)
    for row in rows:
        cpu = found[int(row.target.rpartition("/")[2])][0]
        assert row.taken["cpu"] * cpu + row.free["cpu"] == pytest.approx(cpu)


@given(st.integers(1, 60), st.integers(1, 140), st.integers(0, 30), st.integers(0, 20), st.integers(0, 40))
def test_no_more_is_drawn_than_the_window_has_room_for(
    height: int, width: int, queues: int, targets: int, most: int
) -> None:
    waiting = [queue(consumer=f"scheduler-{number}") for number in range(queues)]
    found = picture(look(1.0, *waiting, targets=[target(f"t{number}") for number in range(targets)]))
    drawn = screen(("where", ""), found, most, width, height)
    assert len(drawn) <= height
    assert max(map(len, drawn)) <= width


def test_what_there_is_no_room_for_is_counted() -> None:
    found = picture(look(1.0, queue(), targets=[target(f"t{number}") for number in range(9)]))
    assert screen(("where", ""), found, 15, 80, 10)[-1] == "and 6 targets that are less full"
    assert screen(("where", ""), found, 15, 80, 4)[-1] == "and 5 lines that there is no room for"
