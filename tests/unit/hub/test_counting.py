"""What is counted is what would be applied: with overrides, manifests and autoscalers."""

from typing import Any

import msgspec
import pytest

from shared.api import PlacementSpec
from shared.hub import counting
from shared.hub.counting import count, counts_by_content, occurring
from shared.model.target import Target
from tests.support.manifests import deployment, obj

CPU = "/spec/template/spec/containers/0/resources/requests/cpu"


def spec(*overrides: dict[str, Any], **fields: Any) -> PlacementSpec:
    return msgspec.convert({"overrides": list(overrides), **fields}, PlacementSpec)


def override(path: str, value: Any, **labels: str) -> dict[str, Any]:
    return {
        "targetSelector": {"matchLabels": labels},
        "patches": [{"op": "add", "path": path, "value": value}],
    }


def target(name: str, workspace: str = "root:platform", **labels: str) -> Target:
    return Target(workspace=workspace, name=name, labels=labels)


def test_overrides_count_as_what_they_make_of_the_workload() -> None:
    big = override("/spec/replicas", 50, size="big")
    sidecar = override("/spec/template/spec/containers/-", {"resources": {"requests": {"cpu": "2"}}}, size="big")
    found = count(spec(big, sidecar), "shop", [deployment(cpu="1")], [(0,), (0, 1)])
    assert (found.workload[0].replicas, found.workload[0].requests["cpu"]) == (1, 1.0)
    counted = {each.overrides: (each.workload[0].replicas, each.workload[0].requests["cpu"]) for each in found.variants}
    assert counted == {(0,): (50, 1.0), (0, 1): (50, 3.0)}


def test_an_override_that_cannot_hold_says_so_and_the_others_are_counted() -> None:
    wrong, right = override("/metadata/name", "other", a="1"), override(CPU, "2", b="1")
    first, second = count(spec(wrong, right), "shop", [deployment(cpu="1")], [(0,), (1,)]).variants
    assert "cannot be changed" in first.error
    assert second.workload[0].requests["cpu"] == 2.0


@pytest.mark.parametrize("value", ["lots", {"a": 1}, None])
def test_requests_that_are_none_are_named_with_their_object(value: Any) -> None:
    (variant,) = count(spec(override(CPU, value, a="1")), "shop", [deployment(cpu="1")], [(0,)]).variants
    assert variant.error.startswith("Deployment web: ")


def test_what_an_autoscaler_may_make_of_a_workload_is_counted() -> None:
    ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    scaling = obj("HorizontalPodAutoscaler", "autoscaling/v2", spec={"scaleTargetRef": ref, "maxReplicas": 50})
    found = count(spec(), "shop", [deployment(cpu="1", replicas=2), scaling])
    assert {each.kind: each.replicas for each in found.workload} == {"Deployment": 50, "HorizontalPodAutoscaler": None}


def test_a_manifest_does_not_hide_the_object_of_the_same_name() -> None:
    found = count(spec(), "shop", [deployment(replicas=50, cpu="1"), deployment(replicas=0)])
    assert found.error == "Deployment web is placed twice, with different content"


def test_the_sets_of_overrides_that_hold_somewhere_are_found_once_each() -> None:
    overrides = spec(override("/a", 1, tier="gold"), override("/a", 1, region="eu"), override("/a", 1)).overrides
    targets = [target("1", tier="gold"), target("2", tier="gold", region="eu"), target("3", x="y"), target("4")]
    assert set(occurring(overrides, targets, ())) == {(0, 2), (0, 1, 2), (2,)}
    assert occurring(overrides[:2], targets[2:], ()) == []


def test_strangers_targets_do_not_push_those_of_the_own_workspaces_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MOST_VARIANTS", 1)
    overrides = spec(override(CPU, "2", mine="1"), override(CPU, "3", theirs="1"))
    targets = [*(target(f"theirs-{number}", theirs="1") for number in range(9)), target("own", "root", mine="1")]
    sets = occurring(overrides.overrides, targets, ("root", "root:team"))
    assert sets == [(0,), (1,)]
    assert [each.overrides for each in count(overrides, "shop", [deployment(cpu="1")], sets).variants] == [(0,)]


def test_no_more_work_is_done_for_a_placement_than_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MOST_WORK", 3)
    objects = [deployment("one", cpu="1"), deployment("two", cpu="1")]
    overrides = spec(override(CPU, "2", a="1"), override(CPU, "3", b="1"))
    assert len(count(overrides, "shop", objects, [(0,), (1,)]).variants) == 1


@pytest.mark.parametrize(
    ("workload", "more", "expected"),
    [
        ([("apps/v1", "Deployment")], {}, False),
        ([("apps/v1", "Deployment")], {"overrides": [override(CPU, "2")]}, True),
        ([("apps/v1", "Deployment")], {"manifests": [obj("ConfigMap")]}, True),
        ([("apps/v1", "Deployment"), ("autoscaling/v2", "HorizontalPodAutoscaler")], {}, True),
        ([("v1", "LimitRange")], {}, True),
        ([("batch/v1", "Job")], {}, False),
        ([("batch/v1", "Job")], {"replicas": {"division": "Dynamic"}}, True),
        ([("apps/v1", "Deployment"), ("apps/v1beta1", "Deployment")], {}, True),
    ],
)
def test_the_objects_themselves_are_read_only_where_they_are_needed(
    workload: list[tuple[str, str]], more: dict[str, Any], expected: bool
) -> None:
    selectors = [{"apiVersion": api_version, "kind": kind, "name": "web"} for api_version, kind in workload]
    assert counts_by_content(msgspec.convert({"workload": selectors, **more}, PlacementSpec), workload) is expected
