"""A workload that is everything with one label, on paper."""

from typing import Any

from services.cli.offline.plane import plane_of, selected_kinds
from services.cli.offline.requests import request_from
from services.cli.support.manifests import Manifest
from shared.hub.selecting import COMMON
from shared.model.request import Request
from tests.support.manifests import deployment, obj, placement

PART = {"app": "web"}
ALL = [{"all": True, "labelSelector": {"matchLabels": PART}}]


def labelled(made: dict[str, Any]) -> dict[str, Any]:
    return {**made, "metadata": {**made["metadata"], "labels": PART}}


def asked(*objects: dict[str, Any]) -> Request:
    manifests = [Manifest(each, "state.yaml") for each in (placement(workload=ALL), *objects)]
    return request_from(plane_of((), manifests, (), ()), manifests[0], 1000.0)


def test_what_has_the_label_is_counted_of_whatever_common_kind_and_what_a_cluster_made_is_not() -> None:
    job = labelled(obj("Job", "batch/v1", name="made", spec={"template": {"spec": {"containers": []}}}))
    job["metadata"]["ownerReferences"] = [
        {"apiVersion": "batch/v1", "kind": "CronJob", "name": "by", "uid": "1", "controller": True}
    ]
    other = labelled(obj("Widget", "example.com/v1", name="other"))
    request = asked(deployment(), deployment("api"), labelled(obj("ConfigMap", data={})), job, other)
    assert request.error == ""
    assert {f"{each.kind} {each.name}" for each in request.workload} == {"Deployment web", "ConfigMap web"}


def test_where_nothing_has_the_label_it_is_refused_as_the_controller_does() -> None:
    assert asked(deployment("api")).error == (
        "spec.workload[0] selects nothing: no object of a common kind with labels app=web in namespace shop"
    )


def test_targets_that_do_not_say_what_they_serve_serve_it() -> None:
    assert set(COMMON) <= set(selected_kinds([Manifest(placement(workload=ALL), "state.yaml")]))
