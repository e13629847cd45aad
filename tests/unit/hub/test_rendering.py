"""The objects for a target: overridden, scaled, and such that they can be counted."""

from typing import Any

import msgspec
import pytest

from shared.api import PlacementSpec
from shared.hub.rendering import Rendered, Unfit, ceilings, input_digest, matching, render, scale, source_hash
from tests.support.manifests import deployment, obj

IMAGE = {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "b"}
DIVIDED = {"division": "Weighted"}


def spec(*operations: dict[str, Any], selector: dict[str, Any] | None = None, **fields: Any) -> PlacementSpec:
    """A spec with one override, if there are operations."""
    entry: dict[str, Any] = {"patches": list(operations)}
    if selector is not None:
        entry["targetSelector"] = selector
    return msgspec.convert({**({"overrides": [entry]} if operations else {}), **fields}, PlacementSpec)


def job(**fields: Any) -> dict[str, Any]:
    return obj("Job", "batch/v1", name="job", spec={"template": {"spec": {}}, **fields})


def autoscaler(name: str = "web", most: Any = 50, kind: str = "Deployment") -> dict[str, Any]:
    ref = {"apiVersion": "apps/v1", "kind": kind, "name": name}
    return obj(
        "HorizontalPodAutoscaler", "autoscaling/v2", name="auto", spec={"scaleTargetRef": ref, "maxReplicas": most}
    )


def images(rendered: Rendered) -> dict[str, str]:
    return {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]["containers"][0]["image"]
        for each in rendered.objects
        if each["kind"] == "Deployment"
    }


@pytest.mark.parametrize(
    ("counts", "replicas", "expected"),
    [
        ([9], 4, [4]),
        ([9, 3], 4, [4, 2]),  # 4·3/9 is rounded up
        ([None], 5, [5]),  # absent means one
        ([0], 0, [0]),
        ([0, 0], 3, [0, 0]),
        ([10], 0, [0]),
    ],
)
def test_replicas_are_shared_as_the_scheduler_counts_them(
    counts: list[int | None], replicas: int, expected: list[int]
) -> None:
    workload = [deployment(str(number), replicas=count or 0) for number, count in enumerate(counts)]
    for each, count in zip(workload, counts, strict=True):
        if count is None:
            del each["spec"]["replicas"]
    assert [each["spec"].get("replicas") for each in scale(workload, replicas)] == expected


def test_what_is_divided_is_what_is_counted_by_group_and_kind() -> None:
    def share(api_version: str, kind: str) -> Any:
        (scaled,) = scale([{**deployment(replicas=9), "apiVersion": api_version, "kind": kind}], 4)
        return scaled["spec"]["replicas"]

    ours = (("apps/v1", "StatefulSet"), ("apps/v1", "ReplicaSet"), ("v1", "ReplicationController"))
    assert [share(*each) for each in ours] == [4, 4, 4]
    assert share("apps.kruise.io/v1beta1", "StatefulSet") == 9


def test_the_pods_of_a_job_are_divided_as_they_are_counted() -> None:
    found = render(spec(replicas=DIVIDED), "shop", [job(parallelism=6)], replicas=2)
    assert found.objects[0]["spec"]["parallelism"] == 2


def test_a_job_that_has_to_succeed_once_has_one_pod_beside_what_is_divided() -> None:
    once = job(parallelism=9, completions=1)
    found = render(spec(replicas=DIVIDED), "shop", [deployment(replicas=6), once], replicas=3)
    assert [each["spec"].get("replicas", each["spec"].get("parallelism")) for each in found.objects] == [3, 1]


def test_a_job_that_has_to_succeed_so_often_is_not_divided() -> None:
    with pytest.raises(Unfit, match=r"Job job has spec\.completions, which cannot be divided"):
        render(spec(replicas=DIVIDED), "shop", [job(parallelism=6, completions=6)])
    assert render(spec(), "shop", [job(parallelism=6, completions=6)]).objects[0]["spec"]["parallelism"] == 6


def test_overrides_change_the_objects_that_they_fit() -> None:
    found = render(spec(IMAGE), "shop", [deployment(), obj("ConfigMap", name="x")], (0,))
    assert images(found) == {"web": "b"}
    assert found.overrides == ("overrides[0]",)


def test_overrides_hold_where_their_selector_matches() -> None:
    west = spec(IMAGE, selector={"matchLabels": {"region": "west"}})
    assert matching(west.overrides, {"region": "east"}) == ()
    assert matching(west.overrides, {"region": "west"}) == (0,)
    assert images(render(west, "shop", [deployment()])) == {"web": "shop/web:1"}


def test_an_override_changes_an_object_as_a_whole_or_not_at_all() -> None:
    guarded = spec({"op": "test", "path": "/metadata/name", "value": "two"}, IMAGE)
    found = render(guarded, "shop", [deployment("one"), deployment("two")], (0,))
    assert images(found) == {"one": "shop/web:1", "two": "b"}


def test_no_object_sees_what_a_patch_made_of_another() -> None:
    grown = spec(
        {"op": "add", "path": "/metadata/annotations", "value": {}},
        {"op": "copy", "from": "/metadata/name", "path": "/metadata/annotations/was"},
    )
    found = render(grown, "shop", [deployment("one"), deployment("two")], (0,))
    assert [each["metadata"]["annotations"] for each in found.objects] == [{"was": "one"}, {"was": "two"}]


def test_overrides_see_the_replicas_that_are_written_and_not_the_share() -> None:
    """Else what holds for a share would be counted for none."""
    guarded = spec({"op": "test", "path": "/spec/replicas", "value": 3}, IMAGE, replicas=DIVIDED)
    with pytest.raises(Unfit, match="fits none"):
        render(guarded, "shop", [deployment(replicas=9)], (0,), replicas=3)


def test_what_a_server_keeps_is_not_brought_in_by_an_override() -> None:
    held = spec({"op": "add", "path": "/metadata/finalizers", "value": ["example.com/never"]})
    assert "finalizers" not in render(held, "shop", [deployment()], (0,)).objects[0]["metadata"]


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        ({"op": "remove", "path": "/spec/nowhere"}, "fits none of the 1 objects"),
        ({"op": "replace", "path": "/spec/replicas/deep", "value": 1}, "fits none of the 1 objects"),
        ({"op": "replace", "path": "/metadata/name", "value": "other"}, "cannot be changed"),
        ({"op": "replace", "path": "/kind", "value": "Secret"}, "cannot be changed"),
        ({"op": "replace", "path": "/metadata/namespace", "value": "kube-system"}, "cannot be changed"),
        ({"op": "remove", "path": "/metadata"}, "cannot be changed"),
        ({"op": "replace", "path": "", "value": 7}, "cannot be changed"),
        ({"op": "replace", "path": "/metadata/labels", "value": "x"}, "labels and annotations are no mappings"),
    ],
)
def test_overrides_that_make_no_sense_are_refused(operation: dict[str, Any], said: str) -> None:
    with pytest.raises(Unfit, match=said):
        render(spec(operation), "shop", [deployment()], (0,))


def test_copies_of_copies_end_before_they_fill_memory() -> None:
    first = {"op": "add", "path": "/metadata/annotations", "value": {"a": "x" * 100}}
    copies = [
        {"op": "copy", "from": "/metadata/annotations", "path": f"/metadata/annotations/{number}"}
        for number in range(40)
    ]
    with pytest.raises(Unfit, match="copies more than"):
        render(spec(first, *copies), "shop", [deployment()], (0,))


@pytest.mark.parametrize("path", ["/spec/replicas"])
@pytest.mark.parametrize("change", [{"op": "replace", "value": 50}, {"op": "remove"}])
def test_an_override_does_not_change_what_is_divided(path: str, change: dict[str, Any]) -> None:
    changing = spec({"path": path, **change}, replicas=DIVIDED)
    with pytest.raises(Unfit, match=r"overrides\[0\] changes spec.replicas of Deployment web, which the Placement div"):
        render(changing, "shop", [deployment(replicas=9)], (0,), replicas=3)


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [
        ("v1", "LimitRange"),
        ("autoscaling.k8s.io/v1", "VerticalPodAutoscaler"),
        ("keda.sh/v1alpha1", "ScaledObject"),
    ],
)
def test_what_changes_pods_after_they_were_counted_is_refused(api_version: str, kind: str) -> None:
    with pytest.raises(Unfit, match=f"{kind} x would change what runs"):
        render(spec(), "shop", [deployment(), obj(kind, api_version, name="x")])


def test_an_autoscaler_lets_what_it_scales_grow_up_to_its_maximum() -> None:
    found = render(spec(), "shop", [deployment(), autoscaler()])
    assert ceilings(found.objects) == {("apps", "Deployment", "web"): 50}


@pytest.mark.parametrize(
    ("scaling", "said"),
    [
        (autoscaler("other"), "scales Deployment other, which the Placement does not place"),
        (autoscaler(kind="StatefulSet"), "scales StatefulSet web, which the Placement does not place"),
        (autoscaler(most="50"), "maxReplicas is no number"),
        (autoscaler(most=None), "maxReplicas is no number"),
    ],
)
def test_an_autoscaler_that_cannot_be_counted_is_refused(scaling: dict[str, Any], said: str) -> None:
    with pytest.raises(Unfit, match=said):
        render(spec(), "shop", [deployment(), scaling])


def test_an_autoscaler_does_not_scale_what_is_divided() -> None:
    with pytest.raises(Unfit, match="scales what the Placement divides"):
        render(spec(replicas=DIVIDED), "shop", [deployment(), autoscaler()])


def test_an_object_that_is_there_twice_is_placed_once_unless_the_two_differ() -> None:
    assert len(render(spec(), "shop", [deployment(), deployment()]).objects) == 1
    for other in (deployment(replicas=50), {**deployment(), "apiVersion": "apps/v1beta1"}):
        with pytest.raises(Unfit, match="Deployment web is placed twice, with different content"):
            render(spec(), "shop", [deployment(), other])


def test_the_digest_is_of_what_is_applied_and_of_nothing_else() -> None:
    plain, hashes = spec(), [source_hash(deployment()), source_hash(obj("ConfigMap", name="x"))]
    same = input_digest(plain, hashes)
    assert input_digest(spec(priority=7, targets={"all": True}), hashes[::-1]) == same
    others = [
        input_digest(plain, hashes[:1]),
        input_digest(plain, [source_hash(deployment(replicas=2)), hashes[1]]),
        input_digest(spec(IMAGE), hashes),
        input_digest(spec(replicas=DIVIDED), hashes),
        input_digest(spec(conflictPolicy="TakeOver"), hashes),
        input_digest(spec(followReferences=False), hashes),
    ]
    assert len({same, *others}) == 7
