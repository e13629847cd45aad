"""The table of kinds, and how values are read and written where it says."""

from typing import Any

import pytest

from shared.hub.kinds import BUILT_IN, KINDS, kind_named, value_at, with_value


def test_a_kind_goes_by_its_group_whatever_its_version() -> None:
    assert BUILT_IN.of({"apiVersion": "apps/v1beta2", "kind": "Deployment"}) is KINDS["apps", "Deployment"]
    assert BUILT_IN.of({"apiVersion": "v1", "kind": "Pod"}) is KINDS["", "Pod"]
    assert kind_named("shop.io/v1", "Deployment").pods is None
    assert BUILT_IN.of({}).health == "generic"


def test_replicas_are_only_where_pods_are() -> None:
    assert [name for name, kind in KINDS.items() if kind.counted is not None and kind.pods is None] == []


def test_a_job_counts_by_the_pods_that_work_at_once_and_a_recurring_one_by_whole_runs() -> None:
    assert KINDS["batch", "Job"].counted == ("spec", "parallelism")
    assert KINDS["batch", "CronJob"].counted is None


@pytest.mark.parametrize(
    ("obj", "found"),
    [
        ({"spec": {"replicas": 0}}, 0),
        ({"spec": {"replicas": None}}, 7),
        ({"spec": {}}, 7),
        ({"spec": None}, 7),
        ({"spec": "x"}, 7),
        ({}, 7),
    ],
)
def test_a_value_is_read_at_its_path_or_it_is_the_default(obj: dict[str, Any], found: int) -> None:
    assert value_at(obj, ("spec", "replicas"), 7) == found


def test_the_empty_path_leads_to_the_object_itself() -> None:
    assert value_at({"a": 1}, ()) == {"a": 1}


def test_a_value_is_written_into_a_copy() -> None:
    before = {"spec": {"replicas": 1, "paused": True}, "kind": "Deployment"}
    after = with_value(before, ("spec", "replicas"), 3)
    assert after == {"spec": {"replicas": 3, "paused": True}, "kind": "Deployment"}
    assert before["spec"] == {"replicas": 1, "paused": True}
    assert with_value({}, ("spec", "replicas"), 3) == {"spec": {"replicas": 3}}


def test_what_is_no_mapping_is_not_written_into() -> None:
    with pytest.raises(TypeError, match="spec is no mapping"):
        with_value({"spec": "x"}, ("spec", "replicas"), 3)
