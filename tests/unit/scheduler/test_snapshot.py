"""Columns stay current, row by row."""

import math

import pytest

from services.scheduler.snapshot import Snapshot
from shared.model.decision import Reservation
from shared.model.refs import Head
from tests.unit.scheduler.builders import REGION, placement, snapshot_of, target

HEAD = Head(uid="u", generation=1, attempt=1)


def value(snapshot: Snapshot, name: str, family: str, key: str | None = None) -> object:
    return snapshot.values(family, key)[snapshot.rows[f"root/{name}"]]


def label(snapshot: Snapshot, name: str, key: str) -> object:
    column = snapshot.codes("label", key)
    return column.distinct[column.values[snapshot.rows[f"root/{name}"]]]


def test_a_changed_target_changes_its_row_only() -> None:
    snapshot = snapshot_of([target("a", region="x"), target("b", region="x")])
    assert label(snapshot, "a", REGION) == "x"
    assert value(snapshot, "a", "allocatable", "cpu") == 10.0
    snapshot.put(target("a", region="y", allocatable={"cpu": 3.0}))
    assert (label(snapshot, "a", REGION), label(snapshot, "b", REGION)) == ("y", "x")
    assert value(snapshot, "a", "allocatable", "cpu") == 3.0
    assert value(snapshot, "b", "allocatable", "cpu") == 10.0


def test_a_removed_target_makes_room_for_another() -> None:
    snapshot = snapshot_of([target("a"), target("b")])
    snapshot.values("id")
    snapshot.remove("root/a")
    snapshot.remove("root/never")
    snapshot.put(target("c", ready=False))
    assert (len(snapshot), snapshot.height) == (2, 2)
    assert value(snapshot, "c", "id") == "root/c"
    assert not value(snapshot, "c", "ready")


def test_candidates_are_found_anew_when_targets_come_or_go() -> None:
    snapshot = snapshot_of([target("a"), target("b")])
    ids = [target(name).id for name in ("a", "b", "c")]
    assert snapshot.locate(ids).tolist() == snapshot.locate(ids).tolist() == [0, 1, -1]
    snapshot.remove(ids[0])
    assert snapshot.locate(ids).tolist() == [-1, 1, -1]
    snapshot.put(target("c"))
    assert snapshot.locate(ids).tolist() == [-1, 1, 0]
    ids.reverse()
    assert snapshot.locate(ids).tolist() == [0, 1, -1]


def test_columns_grow_with_the_inventory() -> None:
    snapshot = snapshot_of([target("a")])
    snapshot.values("allocatable", "cpu")
    for n in range(100):
        snapshot.put(target(f"t{n}", allocatable={"cpu": float(n)}))
    assert value(snapshot, "t99", "allocatable", "cpu") == 99.0


@pytest.mark.parametrize("amount", [-1.0, 0.0, math.nan, math.inf])
def test_amounts_that_are_none_count_as_none(amount) -> None:
    snapshot = snapshot_of([target("a", allocatable={"cpu": amount})])
    assert value(snapshot, "a", "allocatable", "cpu") == 0.0


def test_reservations_add_up_whatever_their_order_and_go_again() -> None:
    amounts = [0.1, 0.2, 0.3, 1e9, 0.7]
    sums = []
    for order in (amounts, amounts[::-1]):
        snapshot = snapshot_of([target("a")])
        assert value(snapshot, "a", "used", "cpu") == 0.0
        for amount in order:
            taken = Reservation(placement=placement(f"p{amount}"), head=HEAD, resources={"cpu": amount})
            snapshot.reserve("root/a", taken)
        sums.append(value(snapshot, "a", "used", "cpu"))
        for amount in amounts:
            snapshot.release("root/a", placement(f"p{amount}"))
        assert value(snapshot, "a", "used", "cpu") == 0.0
        assert snapshot.taken.reservations == {}
        assert list(snapshot.taken.neighbours("root:shop", "shop")) == []
    assert sums[0] == sums[1] == math.fsum(amounts)


@pytest.mark.parametrize("newest_first", [True, False])
def test_a_neighbour_has_the_labels_of_its_newest_reservation(newest_first: bool) -> None:
    snapshot = Snapshot()
    for attempt in (2, 1) if newest_first else (1, 2):
        head = Head(uid="u", generation=1, attempt=attempt)
        taken = Reservation(placement=placement(), head=head, resources={"cpu": 1.0}, labels={"try": str(attempt)})
        snapshot.reserve(f"root/t{attempt}", taken)
    assert list(snapshot.taken.neighbours("root:shop", "shop")) == [(placement(), {"try": "2"})]


def test_a_reservation_may_come_before_its_target() -> None:
    snapshot = Snapshot()
    snapshot.reserve("root/a", Reservation(placement=placement(), head=HEAD, resources={"cpu": 2.0}))
    snapshot.release("root/a", placement("other"))
    snapshot.put(target("a"))
    assert value(snapshot, "a", "used", "cpu") == 2.0


def test_the_column_that_was_not_read_for_longest_goes_first() -> None:
    snapshot = Snapshot(most_bytes=2 * 8 * 9)  # two columns of nine doubles
    snapshot.put(target("a"))
    kept = snapshot.values("allocatable", "cpu")
    snapshot.values("allocatable", "memory")
    snapshot.values("allocatable", "cpu")
    snapshot.values("allocatable", "pods")
    assert snapshot.values("allocatable", "cpu") is kept


def test_past_label_values_are_forgotten() -> None:
    snapshot = snapshot_of([target("a", region="start")])
    column = snapshot.codes("label", REGION)
    for n in range(1000):
        snapshot.put(target("a", region=f"r{n}"))
    assert len(column.distinct) < 100
    assert label(snapshot, "a", REGION) == "r999"


def test_a_target_takes_less_than_a_kilobyte_in_the_columns() -> None:
    snapshot = snapshot_of([target(f"t{n}", region=f"r{n % 100}") for n in range(2000)])
    for family in ("id", "hash", "ready", "unschedulable", "lost_since", "nodes"):
        snapshot.values(family)
    for resource in ("cpu", "memory", "pods", "ephemeral-storage", "gpu"):
        for family in ("allocatable", "allocatable_or_nan", "used", "usage"):
            snapshot.values(family, resource)
    for n in range(10):
        snapshot.values("latency", f"origin{n}")
        snapshot.values("serves", ("apps/v1", f"Kind{n}"))
        snapshot.codes("label", f"label{n}")
    snapshot.codes("taints")
    assert snapshot.nbytes / 2000 < 1024
