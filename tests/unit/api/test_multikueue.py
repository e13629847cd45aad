"""The example for MultiKueue: what its dispatcher asks, and what it writes in Kueue's name."""

import importlib.util
from typing import Any

import msgspec
import pytest

from shared.api import decode_placement
from shared.api.generate.__main__ import ROOT
from shared.model.asking import DecideRequest
from tests.support import kueue

PROGRAM = ROOT / "examples/multikueue/dispatcher.py"
SPEC = importlib.util.spec_from_file_location("dispatcher", PROGRAM)
assert SPEC is not None
assert SPEC.loader is not None
dispatcher = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(dispatcher)


def workload(**status: Any) -> dict[str, Any]:
    found = kueue.admitted(kueue.workload("w", "team", cpu="1", pods=4), **status)
    return {**kueue.workload("w", "team", cpu="1", pods=4), "status": found["status"]}


def condition(type: str, status: str) -> dict[str, str]:
    return {"type": type, "status": status}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, True),
        ({"nominatedClusterNames": ["a"]}, True),
        ({"clusterName": "a"}, False),
        ({"conditions": []}, False),
        ({"conditions": [condition("QuotaReserved", "False")]}, False),
        ({"conditions": [condition("QuotaReserved", "True"), condition("Finished", "True")]}, False),
    ],
)
def test_a_workload_waits_that_has_quota_and_no_cluster(status: dict[str, Any], expected: bool) -> None:
    assert dispatcher.waits(workload(**status)) is expected


def test_one_that_is_new_or_goes_does_not_wait() -> None:
    new = kueue.workload("w", "team", cpu="1")
    assert not dispatcher.waits(new)
    gone = workload()
    assert not dispatcher.waits({**gone, "metadata": {**gone["metadata"], "deletionTimestamp": kueue.SINCE}})


def test_what_is_asked_is_a_request_that_counts_all_pods_in_the_clusters_that_are_named() -> None:
    asked = dispatcher.question(workload(), ["a", "b"], 2)
    msgspec.convert(asked, DecideRequest)
    placement = decode_placement(asked["placement"])
    assert placement.spec.targets.names == ("a", "b")
    assert placement.spec.targets.bounds(2) == (1, 2)
    (job,) = asked["objects"]
    assert [(each.kind, each.name) for each in placement.spec.workload] == [("Job", job["metadata"]["name"])]
    assert (job["spec"]["parallelism"], job["spec"]["completions"]) == (4, 4)
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}
    assert job["spec"]["template"]["spec"]["containers"] == [container]  # and no environment, which may name a Secret


def test_what_is_written_holds_all_that_kueue_applied_and_nothing_of_others() -> None:
    fields = {
        "f:status": {
            "f:admission": {"f:clusterQueue": {}},
            "f:conditions": {'k:{"type":"QuotaReserved"}': {".": {}, "f:type": {}, "f:status": {}}},
            "f:admissionChecks": {'k:{"name":"multi"}': {".": {}, "f:name": {}, "f:state": {}}},
        }
    }
    entry = {"manager": kueue.KUEUE, "operation": "Apply", "subresource": "status", "fieldsV1": fields}
    others = {"manager": "else", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {"f:x": {}}}}
    found = workload(x="another's")
    seen = {"uid": "u", "resourceVersion": "7", "managedFields": [others, entry]}
    written = dispatcher.nomination({**found, "metadata": {**found["metadata"], **seen}}, ["a"])
    assert written["metadata"] == {"name": "w", "namespace": "team", "uid": "u", "resourceVersion": "7"}
    assert written["status"] == {
        "admission": {"clusterQueue": "all"},
        "conditions": [condition("QuotaReserved", "True")],
        "admissionChecks": [{"name": "multi", "state": "Pending"}],
        "nominatedClusterNames": ["a"],
    }


def test_it_is_short() -> None:
    assert len(PROGRAM.read_text().splitlines()) < 200
