"""What of an object is placed: what somebody wrote, by managedFields and by the annotation of client-side apply."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.kube.objects import strip_server_fields
from shared.kube.written import LAST_APPLIED, as_written

Object = dict[str, Any]
SPEC: Object = {
    "replicas": 1,
    "minReadySeconds": 5,
    "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
}
REPLICAS: Object = {"f:spec": {"f:replicas": {}}}
WHOLE: Object = {
    "f:spec": {
        "f:replicas": {}, "f:minReadySeconds": {},
        "f:strategy": {".": {}, "f:type": {}, "f:rollingUpdate": {".": {}, "f:maxSurge": {}}},
    }
}  # fmt: skip
PORT = {"port": 80, "protocol": "TCP", "targetPort": 80, "name": "http"}


def entry(fields: Object, manager: str = "author", **more: Any) -> Object:
    return {"manager": manager, "operation": "Apply", "apiVersion": "apps/v1", "fieldsV1": fields, **more}


def deployment(*entries: Any, spec: Object = SPEC, kind: str = "Deployment", **more: Any) -> Object:
    metadata = {"name": "web", "uid": "1", "managedFields": list(entries)}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": spec, **more}


def applied(spec: Any, *entries: Any, **differently: Any) -> Object:
    """By client-side apply, with what it remembers."""
    obj = deployment(*entries)
    said = {"apiVersion": "apps/v1", "kind": "Deployment", "spec": spec, **differently}
    obj["metadata"]["annotations"] = {LAST_APPLIED: json.dumps(said)}
    return obj


def placed(obj: Object) -> Any:
    return as_written(obj)["spec"]


def test_a_field_that_nobody_owns_is_a_default_and_left_out() -> None:
    assert placed(deployment(entry({"f:spec": {"f:minReadySeconds": {}}}))) == {"minReadySeconds": 5}
    nested = {"f:spec": {"f:strategy": {"f:rollingUpdate": {"f:maxSurge": {}}}}}
    assert placed(deployment(entry(nested))) == {"strategy": {"rollingUpdate": {"maxSurge": 1}}}


def test_what_any_manager_owns_is_kept_an_autoscaler_of_the_hub_among_them() -> None:
    scaler = entry(REPLICAS, "kube-controller-manager", operation="Update", subresource="scale")
    assert placed(deployment(entry({"f:spec": {"f:minReadySeconds": {}}}), scaler)) == {
        "replicas": 1,
        "minReadySeconds": 5,
    }
    assert placed(deployment(entry(WHOLE))) == SPEC


@pytest.mark.parametrize(
    "entries",
    [
        [],
        ["x"],
        [entry({"f:metadata": {"f:labels": {}}})],
        [entry({"f:spec": {}})],  # the spec as a whole
        [entry(REPLICAS, apiVersion="apps/v1beta1")],  # whose fields have other names
        [entry(REPLICAS), {"manager": "x", "apiVersion": "apps/v1"}],
        [entry({"f:spec": {"i:0": {}}})],
        [entry({"f:spec": {"k:{": {}}})],
    ],
)
def test_where_nobody_can_tell_all_was_written(entries: list[Any]) -> None:
    assert placed(deployment(*entries)) == SPEC


def test_all_of_a_manifest_was_written_whatever_it_says_of_its_managers() -> None:
    obj = deployment(entry(REPLICAS))
    del obj["metadata"]["uid"]
    assert placed(obj) == SPEC


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [("v1", "Pod"), ("v1", "PersistentVolumeClaim"), ("batch/v1", "Job"), ("apps.kruise.io/v1alpha1", "CloneSet")],
)
def test_what_cannot_be_changed_and_custom_resources_are_placed_with_their_defaults(
    api_version: str, kind: str
) -> None:
    obj = {**deployment(entry(REPLICAS, apiVersion=api_version), kind=kind), "apiVersion": api_version}
    assert placed(obj) == SPEC


def test_an_item_of_a_list_keeps_what_was_written_and_its_keys() -> None:
    spec = {"ports": [PORT, {**PORT, "port": 81}], "plain": [1, 2]}
    keyed = {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}, "f:name": {}}}
    found = placed(deployment(entry({"f:spec": {"f:ports": keyed, "f:plain": {}}}), spec=spec))
    assert found == {"ports": [{"port": 80, "protocol": "TCP", "name": "http"}], "plain": [1, 2]}
    assert placed(deployment(entry({"f:spec": {"f:plain": {"v:2": {}}}}), spec=spec)) == {"plain": [2]}


def test_by_client_side_apply_what_its_annotation_has_was_written() -> None:
    ours = entry(WHOLE, "kubectl-client-side-apply", operation="Update")
    assert placed(applied({"minReadySeconds": 9}, ours)) == {"minReadySeconds": 5}
    assert placed(applied({"strategy": {"type": "x"}}, ours)) == {"strategy": {"type": "RollingUpdate"}}
    assert placed(applied({"strategy": {}}, ours)) == {"strategy": {}}
    later = entry(REPLICAS, "kubectl-edit", operation="Update")
    assert placed(applied({"minReadySeconds": 9}, ours, later)) == {"replicas": 1, "minReadySeconds": 5}


def test_a_port_that_was_applied_without_its_protocol_is_found_by_its_default() -> None:
    keyed = {
        f'k:{{"port":53,"protocol":"{protocol}"}}': {".": {}, "f:port": {}, "f:protocol": {}, "f:targetPort": {}}
        for protocol in ("TCP", "UDP")
    }
    ports = [{"port": 53, "protocol": protocol, "targetPort": 53} for protocol in ("TCP", "UDP")]
    obj = applied({"ports": [{"port": 53}]}, entry({"f:spec": {"f:ports": keyed}}, "kubectl-client-side-apply"))
    assert placed({**obj, "spec": {"ports": ports}})["ports"][0] == {"port": 53, "protocol": "TCP"}


@pytest.mark.parametrize(
    "obj",
    [
        applied({"replicas": 1}, entry(WHOLE, "somebody")),  # whose owner did not apply so
        applied({"replicas": 1}, entry(WHOLE, "kubectl-create")),
        applied({"replicas": 1}, entry(WHOLE, "kubectl-client-side-apply"), apiVersion="apps/v1beta1"),
        applied({}, entry(WHOLE, "kubectl-client-side-apply")),
        applied("x", entry(WHOLE, "kubectl-client-side-apply")),
    ],
)
def test_an_annotation_that_says_nothing_of_the_object_takes_nothing_away(obj: Object) -> None:
    assert placed(obj) == SPEC


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 10_000, 7, None])
def test_an_annotation_that_is_none_takes_nothing_away(text: Any) -> None:
    obj = deployment(entry(WHOLE, "kubectl-client-side-apply"))
    obj["metadata"]["annotations"] = {LAST_APPLIED: text}
    assert placed(obj) == SPEC


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "TCP"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
NAMES = st.sampled_from(["f:a", "f:b", "f:c", ".", 'k:{"a":1}', "k:{}", "k:7", "k:{", "v:1", "v:x", "i:0", "other"])
FIELDS = st.recursive(
    st.just({}), lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=12
)  # as anybody may have written it down


def is_part(part: Any, whole: Any) -> bool:
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(name in whole and is_part(each, whole[name]) for name, each in part.items())
    if isinstance(part, list) and isinstance(whole, list):
        rest = iter(whole)
        return all(any(is_part(each, item) for item in rest) for each in part)
    return bool(part == whole)


@given(st.dictionaries(st.sampled_from("abc"), JSON, max_size=3), st.lists(FIELDS, max_size=3), JSON)
def test_whatever_is_written_down_what_is_placed_is_a_part_of_the_object(
    spec: Object, sets: list[Object], remembered: Any
) -> None:
    managers = ("kubectl-client-side-apply", "a", "b")
    entries = [entry({"f:spec": fields}, manager) for fields, manager in zip(sets, managers, strict=False)]
    obj = deployment(*entries, spec=spec)
    obj["metadata"]["annotations"] = {
        LAST_APPLIED: json.dumps({"apiVersion": "apps/v1", "kind": "Deployment", "spec": remembered})
    }
    found = as_written(obj)
    assert is_part(found["spec"], spec)
    assert as_written(found) == found
    assert {**strip_server_fields(obj), "spec": 0} == {**found, "spec": 0}
