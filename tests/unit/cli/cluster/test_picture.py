"""Clusters as they are shown."""

import pytest

from services.cli.cluster import picture
from services.cli.cluster.facts import Occupant, tolerating
from services.cli.support.draining import DRAIN, drained
from services.cli.support.output import amount
from shared.api import PlacementBinding, SyncTarget, decode_binding, decode_placement, decode_synctarget
from shared.model.refs import PlacementRef
from tests.support.manifests import API_VERSION, obj, placement

NOW = 1_800_000_000.0
CREATED = "2027-01-15T06:00:00Z"


def cluster(**spec: object) -> SyncTarget:
    ready = {"type": "Ready", "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": CREATED}
    status = {
        "allocatable": {"cpu": "8", "memory": "32Gi", "pods": "110"},
        "allocated": {"cpu": "1500m", "memory": "2Gi", "pods": "10"},
        "conditions": [ready],
    }
    made = obj("SyncTarget", API_VERSION, name="north", namespace="", spec=spec, status=status)
    made["metadata"]["creationTimestamp"] = CREATED
    return decode_synctarget(made)


def binding(name: str, **reserved: float) -> PlacementBinding:
    spec = {"placementRef": {"name": name}, "target": {"name": "north"}, "reserved": reserved, "replicas": 2}
    return decode_binding(obj("PlacementBinding", API_VERSION, name=name, spec=spec, status={"phase": "Ready"}))


def occupant(name: str, **reserved: float) -> Occupant:
    ref = PlacementRef(workspace="root:shop", namespace="shop", name=name)
    return Occupant(ref, "root:platform/north", binding(name, **reserved))


def test_what_is_free_is_what_others_and_reservations_leave():
    row = picture.row("root:platform", cluster(), [occupant("web", cpu=2.0, memory=2.0**30), occupant("api", cpu=1.0)])
    assert row.free == {"cpu": 3.5, "memory": 29 * 2.0**30, "pods": 100.0}
    assert row.placements == 2
    heading, shown = picture.table([row], NOW, workspaces=True)
    assert dict(zip(heading, shown, strict=True)) == {
        "NAME": "root:platform/north",
        "READY": "True",
        "SCHEDULING": "Enabled",
        "PLACEMENTS": "2",
        "FREE": "3.5 cpu, 29Gi memory, 100 pods",
        "TAINTS": "-",
        "AGE": "2h",
    }


def test_a_cluster_that_has_less_than_was_given_away_has_nothing_free():
    assert picture.row("", cluster(), [occupant("web", cpu=20.0)]).free["cpu"] == 0.0


def test_a_cluster_that_is_drained_says_so_and_for_how_long_it_is():
    once = drained((), CREATED)
    assert once[0].time_added == CREATED
    assert drained(once, "2030-01-01T00:00:00Z") == once
    taint = {"key": DRAIN.key, "effect": "NoExecute"}
    found = cluster(unschedulable=True, taints=[taint])
    assert picture.scheduling(found) == "Draining"
    assert picture.scheduling(cluster(unschedulable=True)) == "Cordoned"
    assert picture.row("", found, []).taints == ["placement.moorage.io/drain:NoExecute"]


@pytest.mark.parametrize(
    ("tolerations", "stays"),
    [
        ([], False),
        ([{"operator": "Exists"}], True),
        ([{"key": DRAIN.key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}], False),
        ([{"key": "other", "operator": "Exists"}], False),
    ],
)
def test_only_who_tolerates_the_taint_for_good_stays(tolerations, stays):
    found = decode_placement(placement(targets={"tolerations": tolerations}))
    assert tolerating(found) is stays


@pytest.mark.parametrize(
    ("resource", "value", "shown"),
    [
        ("cpu", 0.25, "0.25"),
        ("memory", 1.5 * 2**30, "1.5Gi"),
        ("memory", 512.0, "512"),
        ("pods", 110.0, "110"),
        ("memory", -1.5 * 2**30, "-1.5Gi"),
    ],
)
def test_amounts_are_shown_in_units_that_people_read(resource, value, shown):
    assert amount(resource, value) == shown


def test_what_runs_there_is_listed_with_its_replicas():
    rows = picture.placement_rows([occupant("web", cpu=2.0)])
    assert rows[1] == ["root:shop", "shop/web", "Ready", "2", "2 cpu"]
    (said,) = picture.placement_json([occupant("web", cpu=2.0)])
    assert said["reserved"] == {"cpu": 2.0}
