"""Which targets a placement has to leave."""

from collections.abc import Sequence

import msgspec
import pytest

from services.controller.core.brake import Braked
from services.controller.core.eviction import Expelling, Patience, Sighting, braked, clearable, evicted, expelling, gone
from shared.api import Taint, Toleration
from shared.model.target import Target


def leaves_of(target: Target, taints: Expelling, tolerations: Sequence[Toleration], now: float) -> list[str]:
    return evicted({target.id: Sighting(target=target, expelling=taints)}, tolerations, Patience(60.0), now)


TAINT = Taint(key="maintenance", value="", effect="NoExecute")


@pytest.mark.parametrize(
    ("fields", "now", "leaves"),
    [
        ({}, 1000.0, False),
        ({"lost_since": 900.0}, 959.0, False),
        ({"lost_since": 900.0}, 960.0, True),
        ({"lost_since": 900.0, "evict_after": 10.0}, 910.0, True),
        ({"lost_since": 900.0, "evict_after": 3600.0}, 960.0, True),
        ({"taints": (TAINT,)}, 0.0, True),
        ({"taints": (Taint(key="k", effect="NoSchedule"),)}, 0.0, False),
    ],
)
def test_a_target_is_left_when_it_is_lost_for_too_long_or_expels(fields, now, leaves):
    target = Target(workspace="root:p", name="t", **fields)
    assert leaves_of(target, expelling(target, {}, now), (), now) == (["root:p/t"] if leaves else [])


@pytest.mark.parametrize(("tolerated", "owner"), [(0.0, None), (60.0, 0.0)])
def test_who_tolerates_no_loss_waits_until_others_can_be_missed_as_well(tolerated, owner):
    sightings = {"t": Sighting(target=Target(workspace="root:p", name="t", lost_since=900.0, evict_after=owner))}
    patience = Patience(tolerated, least=30.0)
    assert [evicted(sightings, (), patience, now) for now in (929.0, 930.0)] == [[], ["t"]]
    held = {"t": msgspec.structs.replace(sightings["t"], braked=Braked(scope="all", lost=5, total=6))}
    assert [list(braked(held, patience, now)) for now in (929.0, 930.0)] == [[], ["t"]]


def test_who_tolerates_more_waits_no_longer_for_that():
    sightings = {"t": Sighting(target=Target(workspace="root:p", name="t", lost_since=900.0))}
    assert evicted(sightings, (), Patience(60.0, least=30.0), 960.0) == ["t"]


EVER = Toleration(key="maintenance", operator="Exists")


def tolerated_for(seconds: int) -> Toleration:
    return Toleration(key="maintenance", operator="Exists", effect="NoExecute", toleration_seconds=seconds)


@pytest.mark.parametrize(
    ("tolerations", "leaves"),
    [
        ([EVER], False),
        ([tolerated_for(31)], False),
        ([tolerated_for(30)], True),
        ([tolerated_for(-1)], True),
        ([tolerated_for(30), EVER], True),
        ([EVER, tolerated_for(30)], False),
    ],
)
def test_a_tolerated_expulsion_is_a_reason_to_leave_only_when_its_time_is_over(tolerations, leaves):
    target = Target(workspace="root:p", name="t", taints=(TAINT,))
    assert bool(leaves_of(target, {TAINT: 970.0}, tolerations, 1000.0)) is leaves


def test_an_expelling_taint_is_remembered_since_it_was_first_seen_and_forgotten_when_it_goes():
    mild = Taint(key="k", effect="NoSchedule")
    target = Target(workspace="root:p", name="t", taints=(TAINT, mild))
    assert expelling(target, {}, 5.0) == {TAINT: 5.0}
    assert expelling(target, {TAINT: 5.0}, 9.0) == {TAINT: 5.0}
    assert expelling(Target(workspace="root:p", name="t"), {TAINT: 5.0}, 9.0) == {}


def test_a_taint_counts_from_when_it_says_that_it_was_added_but_from_no_time_to_come() -> None:
    def since(added: str) -> float:
        taint = msgspec.structs.replace(TAINT, time_added=added)
        (found,) = expelling(Target(workspace="root:p", name="t", taints=(taint,)), {taint: 95.0}, 100.0).values()
        return found

    assert since("1970-01-01T00:01:00Z") == 60.0
    assert since("1970-01-01T01:00:00Z") == 100.0
    assert since("yesterday") == 95.0


def test_a_target_that_is_missing_for_long_enough_is_gone():
    there = Sighting(target=Target(workspace="root:p", name="t"))
    sightings = {"root:p/t": there, "root:p/u": Sighting(missing_since=90.0), "root:p/v": Sighting(missing_since=91.0)}
    assert gone(sightings, 10.0, 100.0) == ["root:p/u"]


def test_only_a_target_that_is_there_and_not_lost_can_be_cleared():
    sightings = {
        "root:p/t": Sighting(target=Target(workspace="root:p", name="t")),
        "root:p/u": Sighting(target=Target(workspace="root:p", name="u", lost_since=1.0)),
        "root:p/v": Sighting(),
    }
    assert clearable(sightings.items()) == ["root:p/t"]
