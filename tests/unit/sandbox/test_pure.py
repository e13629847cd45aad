"""Small pure parts: patches, JSONPaths and ages of tables, version order, schemas."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sandbox.errors import ApiError
from services.sandbox.objects import patch
from services.sandbox.sandbox import Sandbox
from services.sandbox.schemas import schema
from services.sandbox.schemas.resources import version_priority
from services.sandbox.state.clusters import TARGET_RESOURCES, WORKSPACE_RESOURCES, Cluster
from services.sandbox.wire import media, tables
from services.sandbox.wire.duplicates import duplicates
from services.sandbox.world import world

KEYED = {
    "properties": {
        "items": {
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {"properties": {"name": {}, "value": {}}},
        },
        "set": {"x-kubernetes-list-type": "set"},
    }
}
BOTH = {"items": [{"name": "a", "value": 1}, {"name": "b"}]}


@pytest.mark.parametrize(
    ("target", "change", "expected"),
    [  # RFC 7386, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch(target, change, expected):
    assert patch.patched(media.MERGE_PATCH, target, change, {}) == expected


@pytest.mark.parametrize(
    ("target", "change", "expected"),
    [
        (BOTH, {"items": [{"name": "b", "value": 2}]}, [{"name": "a", "value": 1}, {"name": "b", "value": 2}]),
        (BOTH, {"items": [{"name": "a", "$patch": "delete"}]}, [{"name": "b"}]),
        (BOTH, {"items": [{"$patch": "replace"}, {"name": "c"}]}, [{"name": "c"}]),
        (BOTH, {"items": None}, None),
        (BOTH, {"items": [{"name": "c"}]}, [{"name": "c"}, *BOTH["items"]]),
        (
            BOTH,
            {"items": [{"name": "c"}], "$setElementOrder/items": [{"name": "b"}, {"name": "c"}]},
            [*BOTH["items"], {"name": "c"}],
        ),
        (BOTH, {"$setElementOrder/items": [{"name": "b"}, {"name": "a"}]}, BOTH["items"][::-1]),
        ({}, {"$setElementOrder/items": [{"name": "b"}]}, None),
    ],
)
def test_strategic_merge_of_keyed_lists(target, change, expected):
    assert patch.patched(media.STRATEGIC_PATCH, target, change, KEYED).get("items") == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"set": ["b", "c"]}, {"set": ["a", "b", "c"], "map": {"x": 1}}),
        ({"$deleteFromPrimitiveList/set": ["a"]}, {"set": ["b"], "map": {"x": 1}}),
        ({"map": {"$patch": "replace", "y": 2}}, {"set": ["a", "b"], "map": {"y": 2}}),
        ({"map": {"$patch": "delete"}}, {"set": ["a", "b"]}),
        ({"map": {"y": 2}}, {"set": ["a", "b"], "map": {"x": 1, "y": 2}}),
        ({"map": {"$retainKeys": ["y"], "y": 2}}, {"set": ["a", "b"], "map": {"y": 2}}),
    ],
)
def test_strategic_merge_of_sets_and_maps(change, expected):
    assert patch.patched(media.STRATEGIC_PATCH, {"set": ["a", "b"], "map": {"x": 1}}, change, KEYED) == expected


def test_strategic_merge_needs_the_merge_key():
    with pytest.raises(ApiError, match="merge key: name"):
        patch.patched(media.STRATEGIC_PATCH, BOTH, {"items": [{"value": 1}]}, KEYED)


DOCUMENT = {
    "spec": {"n": 3, "list": [{"p": 1}, {"p": 2}], "a.b": "dotted"},
    "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]},
}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (".spec.n", [3]),
        (".spec.list[*].p", [1, 2]),
        (".spec.list[1].p", [2]),
        (".spec.list[7].p", []),
        (".spec['a.b']", ["dotted"]),
        (r".spec.a\.b", ["dotted"]),
        ('.status.conditions[?(@.type=="Ready")].status', ["True"]),
        (".status.conditions[?(@.type=='None')].status", []),
        (".spec.n.deeper", []),
        (".none", []),
    ],
)
def test_json_paths(path, expected):
    assert tables.find(DOCUMENT, path) == expected


@pytest.mark.parametrize(
    ("then", "expected"),
    [
        ("2026-01-02T03:04:00Z", "5s"),
        ("2026-01-02T03:02:00Z", "2m"),
        ("2026-01-01T23:04:05Z", "4h"),
        ("2025-12-30T03:04:05Z", "3d"),
        ("2027-01-01T00:00:00Z", "0s"),
        ("yesterday", "<unknown>"),
    ],
)
def test_ages(then, expected):
    assert tables.age(then, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == expected


def test_versions_are_ordered_as_kubernetes_orders_them():
    ordered = ["v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "v11alpha2", "bar", "foo"]
    assert sorted(sorted(ordered), key=version_priority) == ordered


@pytest.mark.parametrize("name", world.WORKLOADS)
def test_each_workload_kind_can_be_served_by_a_definition(name):
    sandbox = Sandbox()
    world.build(sandbox, world.World(workspaces=["root:a"], serves=[name]))
    served = sandbox.clusters.find("root:a").custom
    ((where, resource),) = served.items()
    original = TARGET_RESOURCES[where]
    assert (resource.id, resource.kind, resource.namespaced) == (name, original.kind, original.namespaced)
    assert resource.versions == original.versions


def test_a_kind_is_found_by_any_of_its_versions():
    cluster = Cluster("root", WORKSPACE_RESOURCES)
    assert cluster.by_kind("v1", "ConfigMap") is cluster.resource("", "configmaps")
    assert cluster.by_kind("v2", "ConfigMap") is None
    assert cluster.by_kind("apps/v1", "Deployment") is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=3), json_values, max_size=4))
def test_nothing_is_pruned_or_refused_without_a_schema(document):
    free = schema.Schema({"x-kubernetes-preserve-unknown-fields": True})
    for name in ("metadata", "apiVersion", "kind"):
        document.pop(name, None)
    assert free.conform(document) == ([], [])


@given(st.dictionaries(st.sampled_from("abc"), json_values, max_size=3))
def test_pruning_twice_drops_nothing_more(document):
    closed = schema.Schema({"properties": {"a": {"properties": {"b": {}}}, "b": {"items": {}}}})
    had = set(document)
    dropped, _ = closed.conform(document)
    assert ("c" in dropped) is ("c" in had)
    assert closed.conform(document)[0] == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a": 1, "b": {"a": 1}}', []),
        (b'{"a": 1, "a": 2}', ["a"]),
        (b'{"spec": {"size": 1, "size": 2}, "list": [{"b": 1}, {"b": 1, "b": 2}]}', ["spec.size", "list[1].b"]),
    ],
)
def test_fields_that_are_there_twice_are_found(body, expected):
    assert duplicates(body) == expected
