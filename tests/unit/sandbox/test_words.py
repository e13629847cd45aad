"""Names, selectors, types and built-in kinds: what is refused, and in which words."""

import pytest

from services.sandbox.errors import ApiError
from services.sandbox.objects import selectors
from services.sandbox.objects.apply import mistyped
from services.sandbox.schemas import names
from services.sandbox.schemas.checks import CHECKS, RBAC

RULE = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
ROLE = {"kind": "Role", "name": "r"}


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("app", []),
        ("example.com/app", []),
        ("", ["name part must be non-empty", "name part must consist of"]),
        ("-app", ["name part must consist of"]),
        ("a" * 64, ["name part must be no more than 63 bytes"]),
        ("/app", ["prefix part must be non-empty"]),
        ("Example/app", ["prefix part a lowercase RFC 1123 subdomain must consist of"]),
        ("a/b/c", ["a valid label key must consist of"]),
    ],
)
def test_label_keys(key, wrong):
    found = names.label_key(key)
    assert len(found) == len(wrong)
    assert all(told.startswith(expected) for told, expected in zip(found, wrong, strict=True))


@pytest.mark.parametrize(
    ("metadata", "fields"),
    [
        ({"labels": {"a": "1"}, "annotations": {"A": "anything goes!"}, "finalizers": ["example.com/x"]}, []),
        ({"labels": {"-": "-"}}, ["labels", "labels"]),
        ({"labels": ["a"], "annotations": "a"}, []),
        ({"annotations": {"a": "x" * 300_000}}, ["annotations"]),
        ({"finalizers": ["a b"]}, ["finalizers"]),
        (
            {"ownerReferences": [{"apiVersion": "", "kind": "", "name": "", "uid": ""}]},
            ["ownerReferences.apiVersion", "ownerReferences.kind", "ownerReferences.name", "ownerReferences.uid"],
        ),
        ({"ownerReferences": [{"controller": True}, {"controller": True}, {"controller": False}]}, ["ownerReferences"]),
    ],
)
def test_metadata(metadata, fields):
    assert [cause.field for cause in names.metadata_causes(metadata)] == [f"metadata.{field}" for field in fields]


@pytest.mark.parametrize(
    ("selector", "labels", "expected"),
    [
        ("a", {"a": ""}, True),
        ("!a", {}, True),
        ("a=1", {"a": "1"}, True),
        ("a!=1", {}, True),
        ("a=", {"a": ""}, True),
        ("a in (1, 2),b", {"a": "2", "b": ""}, True),
        ("a notin (1,2)", {"a": "2"}, False),
        ("a in (,x)", {"a": ""}, True),
        ("in in (notin)", {"in": "notin"}, True),
        ("a>1", {"a": "2"}, True),
        ("a>1", {"a": "x"}, False),
        ("a<1", {}, False),
    ],
)
def test_label_selectors(selector, labels, expected):
    matches = selectors.labels(selector)
    assert matches is not None
    assert matches(labels) is expected


@pytest.mark.parametrize(
    "selector",
    [
        "=",
        "a b",
        "a,",
        "!",
        "a is b",
        "a in b",
        "a in (b",
        "a in (=)",
        "a=b=c",
        "a==!",
        "a>b",
        "-a",
        "a=-",
        "x" * 20_000,
    ],
)
def test_what_is_no_label_selector(selector):
    with pytest.raises(ApiError) as caught:
        selectors.labels(selector)
    assert caught.value.code == 400


@pytest.mark.parametrize(
    ("selector", "expected"),
    [("spec.a=x", True), ("spec.a==x,", True), ("spec.a!=x", False), (r"spec.b=p\,q\=", True), ("spec.none=", True)],
)
def test_field_selectors(selector, expected):
    matches = selectors.fields(selector, ("spec.a", "spec.b", "spec.none"), custom=True)
    assert matches is not None
    assert matches({"spec": {"a": "x", "b": "p,q="}}) is expected


@pytest.mark.parametrize(
    ("selector", "custom", "words"),
    [
        ("metadata.name", True, "can't understand 'metadata.name'"),
        ("metadata.name=a=b", True, "unescaped character in value: 61"),
        ("spec.a=1", True, "field label not supported: spec.a"),
        ("spec.a=1", False, '"spec.a" is not a known field selector: only "metadata.name", "metadata.namespace"'),
        ("a=" + "x" * 20_000, True, "too long"),
    ],
)
def test_what_is_no_field_selector(selector, custom, words):
    with pytest.raises(ApiError, match=words):
        selectors.fields(selector, (), custom=custom)


@pytest.mark.parametrize(
    ("resource", "document", "fields"),
    [
        (f"roles.{RBAC}", {"kind": "Role"}, []),
        (f"roles.{RBAC}", {"kind": "Role", "rules": [RULE, {}]}, ["verbs", "apiGroups", "resources"]),
        (
            f"roles.{RBAC}",
            {"kind": "Role", "rules": [RULE, {**RULE, "nonResourceURLs": ["/"]}]},
            ["nonResourceURLs"] * 2,
        ),
        (f"clusterroles.{RBAC}", {"kind": "ClusterRole", "rules": [{"verbs": ["get"], "nonResourceURLs": ["/"]}]}, []),
    ],
)
def test_roles(resource, document, fields):
    assert [cause.field.rpartition(".")[2] for cause in CHECKS[resource](document)] == fields


@pytest.mark.parametrize(
    ("kind", "role", "subject", "fields"),
    [
        ("RoleBinding", ROLE, {"kind": "User", "name": "u"}, []),
        ("RoleBinding", {"apiGroup": "x"}, {"kind": "User"}, ["apiGroup", "kind", "name", "name"]),
        ("ClusterRoleBinding", ROLE, {"kind": "ServiceAccount", "name": "-"}, ["kind", "name", "namespace"]),
        ("RoleBinding", ROLE, {"kind": "Pod", "name": "p"}, ["kind"]),
        ("RoleBinding", ROLE, {"kind": "ServiceAccount", "name": "s", "apiGroup": RBAC}, ["apiGroup"]),
    ],
)
def test_bindings(kind, role, subject, fields):
    document = {"kind": kind, "roleRef": role, "subjects": [subject]}
    found = CHECKS[f"{kind.lower()}s.{RBAC}"](document)
    assert [cause.field.rpartition(".")[2] for cause in found] == fields


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({"ports": [{"port": 1}]}, []),
        ({"clusterIP": "None"}, []),
        ({"type": "ExternalName"}, []),
        ({}, ["spec.ports"]),
        ({"ports": [{"port": 1, "name": "a"}, {"port": 2, "name": "a"}]}, ["spec.ports[1].name"]),
        ({"ports": [{"port": 0, "name": "A"}]}, ["spec.ports[0].name", "spec.ports[0].port"]),
        ({"ports": [{"port": 1, "name": "a"}, {"port": 2}]}, ["spec.ports[1].name"]),
    ],
)
def test_services(spec, fields):
    assert [cause.field for cause in CHECKS["services"]({"kind": "Service", "spec": spec})] == fields


@pytest.mark.parametrize(
    ("document", "fields"),
    [
        ({"kind": "ConfigMap", "data": {"a": "not base64"}, "binaryData": {"b": "YQ=="}}, []),
        (
            {"kind": "ConfigMap", "data": {"..": ""}, "binaryData": {"b c": "YQ="}},
            ["data[..]", "binaryData[b c]", "binaryData.b c"],
        ),
        ({"kind": "Secret", "data": {"a": "bad!"}}, ["data.a"]),
        ({"kind": "Secret", "type": "kubernetes.io/tls", "stringData": {"tls.crt": ""}}, ["data[tls.key]"]),
    ],
)
def test_data(document, fields):
    assert [cause.field for cause in CHECKS[f"{document['kind'].lower()}s"](document)] == fields


@pytest.mark.parametrize(
    ("schema", "value", "problem"),
    [
        ({"type": "string"}, "x", None),
        ({"type": "string"}, None, None),
        ({"type": "string", "format": "date-time"}, 5, None),
        ({"x-kubernetes-int-or-string": True}, 5, None),
        ({"type": "string"}, 5, "expected string, got &value.valueUnstructured{Value:5}"),
        ({"type": "integer"}, True, "expected numeric (int or float), got bool"),
        ({"type": "number"}, 1.5, None),
        ({"type": "boolean"}, "x", "expected boolean, got &{x}"),
        ({"type": "object"}, [], "expected map, got &{[]}"),
        ({"type": "array"}, {}, "expected list, got &{{}}"),
        ({"type": "object", "properties": {"a": {}}}, {"b": 1}, "field not declared in schema"),
        ({"type": "array", "x-kubernetes-list-type": "set"}, [{}], "has an element that's a map type"),
        ({"type": "array", "x-kubernetes-list-type": "set"}, [None], "has an element that's an explicit null"),
        ({"type": "array", "x-kubernetes-list-type": "set"}, [1, 1], "duplicate entries for key [=1]"),
        (
            {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]},
            [None],
            "associative list with keys may not have a null element",
        ),
    ],
)
def test_what_can_be_applied(schema, value, problem):
    found = mistyped(value, schema)
    assert found == [] if problem is None else found[0].endswith(problem)
