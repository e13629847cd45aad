"""What exactly is applied in one target."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.binding import core
from services.binding.target.parent import kinds_of
from services.binding.workload import selector_text
from shared.api import LabelRequirement, LabelSelector, PlacementSpec
from shared.hub.names import MANAGED_LABEL, OWNER_ANNOTATION, applyset_name, applyset_of
from shared.hub.rendering import Unfit
from shared.model.refs import PlacementRef

REF = PlacementRef(workspace="root:team", namespace="shop", name="web")


def deployment(name: str = "web", replicas: int | None = 3, **metadata: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"template": {"spec": {"containers": [{"name": "main", "image": "a"}]}}}
    if replicas is not None:
        spec["replicas"] = replicas
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, **metadata}, "spec": spec}


def plain(kind: str, name: str = "x", **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **more}


def spec(**fields: Any) -> PlacementSpec:
    return msgspec.convert(fields, PlacementSpec)


def wanted(*workload: dict[str, Any], referred: tuple[dict[str, Any], ...] = (), **more: Any) -> core.Wanted:
    options: dict[str, Any] = {"overrides": (), "replicas": None, "applyset": "set", **more}
    return core.wanted(REF, options.pop("spec", spec()), core.Collected(workload, referred), **options)


def test_objects_are_stripped_and_marked_as_ours() -> None:
    raw = deployment(uid="1", resourceVersion="7", labels={"app": "web"}, annotations={"note": "kept"})
    (member,) = wanted({**raw, "status": {"replicas": 3}}).members
    assert member.object["metadata"] == {
        "name": "web",
        "namespace": "shop",
        "labels": {"app": "web", MANAGED_LABEL: "true", "applyset.kubernetes.io/part-of": "set"},
        "annotations": {"note": "kept", OWNER_ANNOTATION: "root:team|shop|web"},
    }
    assert "status" not in member.object
    assert (member.ref.kind, member.ref.namespace, len(member.ref.hash)) == ("Deployment", "shop", 64)


def test_the_hash_depends_on_what_is_applied_alone() -> None:
    first, same = wanted(deployment(uid="1")), wanted(deployment(uid="2"))
    other = wanted(deployment(replicas=4))
    assert [each.hash for each in first.members] == [each.hash for each in same.members]
    assert [each.source for each in (*first.members, *same.members)] == ["1", "2"]
    assert first.members[0].hash != other.members[0].hash


def test_what_workloads_need_is_applied_before_them() -> None:
    referred = tuple(plain(kind) for kind in ("Service", "PersistentVolumeClaim", "Secret", "ConfigMap"))
    found = wanted(deployment(), plain("Pod"), referred=(*referred, plain("ServiceAccount")))
    assert [each.kind for each in found.refs] == [
        "ServiceAccount",
        "ConfigMap",
        "Secret",
        "PersistentVolumeClaim",
        "Service",
        "Pod",
        "Deployment",
    ]


def test_an_object_that_is_selected_twice_is_applied_once_and_the_workload_wins() -> None:
    found = wanted(plain("ConfigMap", data={"a": "1"}), referred=(plain("ConfigMap", data={"a": "2"}),))
    assert [member.object["data"] for member in found.members] == [{"a": "1"}]


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ({"kind": "ConfigMap", "metadata": {"name": "x"}}, "lacks apiVersion"),
        ({"apiVersion": "v1", "kind": "ConfigMap"}, "lacks apiVersion"),
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": "x"}, "lacks apiVersion"),
        (
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x", "namespace": "other"}},
            "is in namespace other, the Placement in shop",
        ),
    ],
)
def test_manifests_that_name_no_object_of_the_namespace_are_refused(manifest: dict[str, Any], said: str) -> None:
    with pytest.raises(Unfit, match=said):
        wanted(manifest)


def test_nothing_at_all_is_refused() -> None:
    with pytest.raises(Unfit, match="selects no object"):
        wanted()


def test_duplicated_workloads_and_kinds_without_replicas_stay_as_they_are() -> None:
    assert wanted(deployment(replicas=9), replicas=2).members[0].object["spec"]["replicas"] == 9
    divided = spec(replicas={"division": "Weighted"})
    found = wanted(deployment(replicas=9), plain("Pod", spec={}), replicas=2, spec=divided)
    assert {m.object["kind"]: m.object["spec"].get("replicas") for m in found.members} == {"Deployment": 2, "Pod": None}


@given(st.lists(st.sampled_from(["ConfigMap", "Secret", "Service", "Pod"]), max_size=6))
def test_the_order_of_what_was_found_does_not_matter(kinds: list[str]) -> None:
    objects = tuple(plain(kind, f"{kind.lower()}-{number}") for number, kind in enumerate(kinds))
    forth = wanted(deployment(), referred=objects)
    back = wanted(deployment(), referred=objects[::-1])
    assert forth == back


def test_sets_differ_by_placement_and_stay_within_a_name() -> None:
    long = PlacementRef(workspace="root:team", namespace="shop", name="x" * 253)
    other = PlacementRef(workspace="root:rival", namespace="shop", name="web")
    assert len({applyset_of(REF), applyset_of(other), applyset_of(long)}) == 3
    assert len(applyset_name(long)) <= 253


def test_a_set_that_names_no_kinds_has_none() -> None:
    assert kinds_of(None) == kinds_of({"metadata": {}}) == set()
    marked = {"metadata": {"annotations": {"placement.moorage.io/kinds": "apps/v1 Deployment,v1 Secret"}}}
    assert kinds_of(marked) == {("apps/v1", "Deployment"), ("v1", "Secret")}


def test_label_selectors_are_written_as_the_api_server_reads_them() -> None:
    requirements = (
        LabelRequirement(key="tier", operator="In", values=("a", "b")),
        LabelRequirement(key="env", operator="NotIn", values=("test",)),
        LabelRequirement(key="new", operator="Exists"),
        LabelRequirement(key="old", operator="DoesNotExist"),
    )
    selector = LabelSelector(match_labels={"b": "2", "a": "1"}, match_expressions=requirements)
    assert selector_text(selector) == "a=1,b=2,tier in (a,b),env notin (test),new,!old"
    assert selector_text(None) == ""
