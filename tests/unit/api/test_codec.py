"""Objects survive the wire, and what they encode to is what the CRDs admit."""

import json
import re

import jsonschema_rs
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import inspect as mi

from shared.api import (
    API_VERSION,
    KINDS,
    InvalidObject,
    LabelSelector,
    ObjectMeta,
    Placement,
    PlacementSpec,
    Quota,
    SyncTarget,
    WorkloadSelector,
    codec,
    decode,
    decode_placement,
    decode_synctarget,
    encode,
    to_dict,
)
from shared.api.generate.schema import object_schema

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)


def documents(info):  # noqa: C901 - one case per kind of type
    """Any JSON that fits a type of the model, small enough to make many."""
    match info:
        case mi.Metadata():
            return documents(info.type)
        case mi.StructType():
            tag = {info.tag_field: st.just(info.tag)} if info.tag else {}
            required = {field.encode_name: documents(field.type) for field in info.fields if field.required}
            optional = {field.encode_name: documents(field.type) for field in info.fields if not field.required}
            return st.fixed_dictionaries(tag | required, optional=optional)
        case mi.VarTupleType():
            least = info.min_length or 0
            return st.lists(documents(info.item_type), min_size=least, max_size=least + 1)
        case mi.DictType():
            return st.dictionaries(st.text(max_size=3), documents(info.value_type), max_size=1)
        case mi.UnionType():
            return st.one_of([documents(option) for option in info.types])
        case mi.LiteralType():
            return st.sampled_from(info.values)
        case mi.StrType(pattern=None):
            return st.text(min_size=info.min_length or 0, max_size=(info.min_length or 0) + 3)
        case mi.StrType():
            return st.from_regex(info.pattern.replace("$", r"\Z"), alphabet=st.characters(codec="ascii")).filter(
                lambda text: (info.min_length or 0) <= len(text) <= (info.max_length or len(text))
            )
        case mi.IntType():
            return st.integers(-(2**63) if info.ge is None else info.ge, 2**63 - 1 if info.le is None else info.le)
        case mi.FloatType():
            return st.floats(info.ge, info.le, allow_nan=False, allow_infinity=False)
        case mi.BoolType():
            return st.booleans()
        case mi.NoneType():
            return st.none()
        case mi.AnyType():
            return json_values
    raise AssertionError(info)


DOCUMENTS = {name: documents(mi.type_info(kind)) for name, kind in KINDS.items()}
VALIDATORS = {name: jsonschema_rs.validator_for(object_schema(kind)) for name, kind in KINDS.items()}


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(data=st.data())
def test_every_kind_survives_the_wire_and_fits_its_schema(name, data):
    document = data.draw(DOCUMENTS[name])
    decoded = decode(KINDS[name], json.dumps(document))
    encoded = encode(decoded)
    assert decode(KINDS[name], encoded) == decoded
    assert decode(KINDS[name], to_dict(decoded)) == decoded
    assert encode(decode(KINDS[name], encoded)) == encoded
    assert json.loads(encoded) == to_dict(decoded)
    VALIDATORS[name].validate(json.loads(encoded))


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_each_kind_has_its_decoder(name, kind):
    short = name if name in {"SyncTarget", "Placement"} else name.removeprefix("Placement")
    decoder = getattr(codec, f"decode_{short.lower()}")
    minimal = {
        "PlacementPolicy": {"rules": [{"name": "a", "expression": "true"}]},
        "PlacementBinding": {"placementRef": {"name": "a"}, "target": {"name": "b"}},
        "WorkloadKind": {"group": "shop.io", "kind": "Till"},
        "PolicyException": {
            "policy": "p",
            "match": {"namespaces": ["shop"]},
            "reason": "because",
            "expiresAt": "2027-01-01T00:00:00Z",
        },
        "ClusterRequest": {
            "placementRef": {"name": "a"},
            "since": "2026-01-01T00:00:00Z",
            "reason": "TooFewTargets",
            "missing": {"targets": 1},
        },
        "PlacementRevision": {"placementRef": {"name": "a"}, "revision": "r"},
        "PlacementOverride": {"type": "Force", "targets": [{"name": "b"}], "reason": "because"},
    }
    assert type(decoder({"spec": minimal.get(name, {})})) is kind


def test_api_version_and_kind_are_always_written_and_the_unset_never():
    selector = WorkloadSelector(api_version="apps/v1", kind="Deployment", label_selector=LabelSelector())
    placement = Placement(metadata=ObjectMeta(name="web"), spec=PlacementSpec(workload=(selector,)))
    assert to_dict(placement) == {
        "apiVersion": API_VERSION,
        "kind": "Placement",
        "metadata": {"name": "web"},
        "spec": {"workload": [{"apiVersion": "apps/v1", "kind": "Deployment", "labelSelector": {}}]},
    }


def test_unknown_fields_are_ignored_because_the_server_prunes():
    placement = decode_placement({"metadata": {"managedFields": [{}]}, "spec": {"future": 1}, "extra": True})
    assert placement == Placement(spec=PlacementSpec())


def test_an_object_with_a_field_that_was_taken_out_of_the_api_is_still_read():
    target = decode_synctarget({"spec": {"cells": {"rack": "7"}, "unschedulable": True}})
    assert to_dict(target)["spec"] == {"unschedulable": True}


def test_names_that_camel_case_would_spoil_keep_kubernetes_spelling():
    target = decode_synctarget(
        {"spec": {"cost": {"perGiBHour": 0.5}}, "status": {"latency": [{"from": "a", "milliseconds": 1}]}}
    )
    assert to_dict(target)["spec"]["cost"] == {"perGiBHour": 0.5}
    assert target.status.latency[0].from_ == "a"


def test_a_patch_tells_null_from_absent():
    patches = [{"op": "add", "path": "/a", "value": None}, {"op": "remove", "path": "/a"}]
    placement = decode_placement({"spec": {"overrides": [{"patches": patches}]}})
    assert to_dict(placement)["spec"]["overrides"][0]["patches"] == patches


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"spec": {"priority": "high"}}, "Expected `int`, got `str` - at `$.spec.priority`"),
        ({"spec": {"strategy": {"type": "Worst"}}}, "Invalid enum value 'Worst' - at `$.spec.strategy.type`"),
        ({"spec": {"strategy": {"scorers": [{}]}}}, "required field `name` - at `$.spec.strategy.scorers[0]`"),
        ({"spec": {"targets": {"count": {"min": -1}}}}, "Expected `int` >= 0 - at `$.spec.targets.count.min`"),
        ({"spec": {"targets": {"count": {"max": "0%"}}}}, "at `$.spec.targets.count.max`"),
        ({"spec": {"targets": {"count": {"max": "101%"}}}}, "at `$.spec.targets.count.max`"),
        ({}, "missing required field `spec`"),
        ({"apiVersion": "v1", "spec": {}}, "Invalid enum value 'v1' - at `$.apiVersion`"),
        ({"kind": "SyncTarget", "spec": {}}, "Invalid value 'SyncTarget' - at `$.kind`"),
        (b"{", "truncated"),
        (b"[]", "Expected `object`, got `array`"),
        (b"\xff\xfe", "malformed"),
        (b'{"kind":"\xff"}', "utf-8"),
        ("null", "Expected `object`, got `null`"),
        (b"[" * 100_000, "Expected `object`, got `array`"),
        (b'{"spec":{"manifests":[{"a":' + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_path(source, message):
    with pytest.raises(InvalidObject) as caught:
        decode_placement(source)
    assert str(caught.value).startswith("Placement: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("quota", "path"),
    [
        ({"hard": {"cpu": 1}}, "$.spec.quotas[0]"),
        ({"workspace": "root:team"}, "$.spec.quotas[0]"),
        ({"workspace": "!", "hard": {}}, "$.spec.quotas[0].workspace"),
        ({"workspace": "root:team:", "hard": {}}, "$.spec.quotas[0].workspace"),
        ({"workspace": "Root", "hard": {}}, "$.spec.quotas[0].workspace"),
        ({"workspace": "root", "hard": {"cpu": -1}}, "$.spec.quotas[0].hard[...]"),
        ({"workspace": "root", "hard": {"cpu": "-1"}}, "$.spec.quotas[0].hard[...]"),
        ({"workspace": "root", "hard": {"cpu": "many"}}, "$.spec.quotas[0].hard[...]"),
    ],
)
def test_a_quota_names_a_workspace_and_no_amount_below_zero(quota, path):
    with pytest.raises(InvalidObject, match=re.escape(path)):
        decode_synctarget({"spec": {"quotas": [quota]}})
    document = {"apiVersion": "placement.moorage.io/v1alpha1", "kind": "SyncTarget", "spec": {"quotas": [quota]}}
    assert not jsonschema_rs.is_valid(object_schema(SyncTarget), document)


@pytest.mark.parametrize("workspace", ["", "root", "root:team-a", "root:team!"])
def test_a_quota_is_of_a_workspace_with_or_without_those_below_or_of_all(workspace):
    hard = {"cpu": "10", "memory": "+20Gi", "pods": 50, "nvidia.com/gpu": "0"}
    document = {"spec": {"quotas": [{"workspace": workspace, "hard": hard}]}}
    assert decode_synctarget(document).spec.quotas == (Quota(workspace=workspace, hard=hard),)
    jsonschema_rs.validator_for(object_schema(SyncTarget)).validate(document)


def test_objects_cannot_be_changed():
    with pytest.raises(AttributeError):
        SyncTarget().metadata = ObjectMeta(name="other")
    assert issubclass(InvalidObject, ValueError)
    assert not issubclass(InvalidObject, msgspec.MsgspecError)
