"""What is counted of a target with its pods, as its SyncTarget says it."""

import msgspec
import pytest

from services.discovery.room import Occupancy, counted_patch, free, is_due
from shared.api import SyncTarget, decode_synctarget
from shared.model.target import Target

GI = 2.0**30
COUNTED = Target(
    workspace="root:p",
    name="east",
    uid="u1",
    allocatable={"cpu": 7.5, "memory": 8 * GI, "pods": 110.0},
    allocated={"cpu": 1.5, "pods": 2.0},
    counted=True,
)
NOT_COUNTED = msgspec.structs.replace(COUNTED, counted=False, allocated={"cpu": 9.0})
HELD = Occupancy(2, {"cpu": 1.0, "memory": GI, "pods": 4.0})


def offered(**status: object) -> SyncTarget:
    return decode_synctarget(
        {
            "apiVersion": "placement.moorage.io/v1alpha1",
            "kind": "SyncTarget",
            "metadata": {"name": "east", "uid": "u1"},
            "spec": {},
            "status": status,
        }
    )


@pytest.mark.parametrize(
    ("present", "target", "patch"),
    [
        ({}, COUNTED, {"cpu": "1500m", "pods": "2"}),
        ({"cpu": "9", "gpu": "1"}, COUNTED, {"cpu": "1500m", "pods": "2", "gpu": None}),
        ({"cpu": "1.5", "pods": 2}, COUNTED, None),
        ({"cpu": "9"}, NOT_COUNTED, None),
    ],
)
def test_what_was_counted_is_written_where_it_differs(present, target, patch):
    expected = None if patch is None else {"status": {"allocated": patch}}
    assert counted_patch(offered(allocated=present), target, None) == expected


def test_what_is_free_is_what_neither_others_nor_placements_have():
    assert free(COUNTED, HELD) == {"cpu": 5.0, "memory": 7 * GI, "pods": 104.0}
    assert free(NOT_COUNTED, HELD)["cpu"] == 0.0


def test_free_room_and_placements_are_said_once():
    there = {"allocated": {"cpu": "1500m", "pods": "2"}}
    patch = counted_patch(offered(**there), COUNTED, HELD)
    assert patch == {"status": {"free": {"cpu": "5", "memory": "7168Mi", "pods": "104"}, "placements": 2}}
    assert counted_patch(offered(**there, **patch["status"]), COUNTED, HELD) is None


def test_what_came_and_went_changes_the_number_alone():
    said = offered(
        allocated={"cpu": "1500m", "pods": "2"}, free={"cpu": "6", "memory": "8Gi", "pods": "108"}, placements=1
    )
    assert counted_patch(said, COUNTED, Occupancy(0, {})) == {"status": {"placements": 0}}


def test_it_is_compared_with_each_count_and_where_nothing_is_said_yet():
    assert is_due(offered(), counted=False)
    assert not is_due(offered(placements=0), counted=False)
    assert is_due(offered(placements=0), counted=True)
