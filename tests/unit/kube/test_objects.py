"""What is stripped from an object, hashes of contents, and who owns its fields."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.kube import applyset, objects
from tests.support.manifests import obj


def test_metadata_loses_what_the_server_and_other_tools_put_there():
    source = obj("ConfigMap", data={"a": "b"})
    source["metadata"] |= {
        "uid": "u",
        "resourceVersion": "7",
        "generation": 2,
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "deletionTimestamp": "2026-01-01T00:00:00Z",
        "deletionGracePeriodSeconds": 30,
        "selfLink": "/x",
        "managedFields": [{}],
        "ownerReferences": [{}],
        "finalizers": ["a/b"],
        "generateName": "web-",
        "labels": {
            "app": "web",
            applyset.APPLYSET_PART_OF: "applyset-x-v1",
            "claimed.internal.apis.kcp.io/1TVlVDv7ISE8": "3QVjs6pfBjMp",
            "internal.apis.kcp.io/export": "1TVlVDv7ISE8",
        },
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "kcp.io/cluster": "abc"},
    }
    source["status"] = {"phase": "Active"}
    before = copy.deepcopy(source)
    assert objects.strip_server_fields(source) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
        "data": {"a": "b"},
    }
    assert source == before


SERVICE_PORT = {"port": 80, "nodePort": 30080}
TOKEN_VOLUME = {"name": "kube-api-access-x7"}


@pytest.mark.parametrize(
    ("source", "field", "expected"),
    [
        (
            obj(
                "Service",
                spec={
                    "clusterIP": "10.0.0.1",
                    "clusterIPs": ["10.0.0.1"],
                    "ipFamilies": ["IPv4"],
                    "ports": [SERVICE_PORT],
                },
            ),
            "spec",
            {"ports": [{"port": 80}]},
        ),
        (obj("Service", spec={"clusterIP": "None", "clusterIPs": ["None"]}), "spec", {"clusterIP": "None"}),
        (obj("Service", spec={"ipFamilies": ["IPv6"], "healthCheckNodePort": 1}), "spec", {"ipFamilies": ["IPv6"]}),
        (
            obj("PersistentVolumeClaim", spec={"volumeName": "pv", "storageClassName": "s"}),
            "spec",
            {"storageClassName": "s"},
        ),
        (
            obj(
                "Job", "batch/v1", spec={"selector": {}, "template": {"metadata": {"labels": {"controller-uid": "u"}}}}
            ),
            "spec",
            {"template": {"metadata": {}}},
        ),
        (
            obj("Job", "batch/v1", spec={"manualSelector": True, "selector": {"a": 1}}),
            "spec",
            {"manualSelector": True, "selector": {"a": 1}},
        ),
        (
            obj(
                "Pod",
                spec={
                    "nodeName": "n",
                    "volumes": [TOKEN_VOLUME],
                    "containers": [{"name": "c", "volumeMounts": [TOKEN_VOLUME, {"name": "d"}]}],
                },
            ),
            "spec",
            {"volumes": [], "containers": [{"name": "c", "volumeMounts": [{"name": "d"}]}]},
        ),
        (obj("ServiceAccount", secrets=[{"name": "t"}]), "secrets", None),
        (obj("Namespace", spec={"finalizers": ["kubernetes"]}), "spec", None),
        (
            obj(
                "Deployment",
                "apps/v1",
                spec={"template": {"metadata": {"creationTimestamp": None, "labels": {"a": "b"}}}},
            ),
            "spec",
            {"template": {"metadata": {"labels": {"a": "b"}}}},
        ),
        # The same word in another group is another kind, and stays as it is.
        (obj("Service", "serving.knative.dev/v1", spec={"clusterIP": "x"}), "spec", {"clusterIP": "x"}),
    ],
)
def test_well_known_kinds_lose_what_their_cluster_allocated(source, field, expected):
    source["metadata"]["uid"] = "1"  # an API server has it
    assert objects.strip_server_fields(source).get(field) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
PARTS = st.sampled_from(["spec", "metadata", "status", "template", "ports", "volumes", "containers", "labels"])


@given(
    st.sampled_from(["Service", "Pod", "Job", "Namespace", "PersistentVolumeClaim", "ServiceAccount"]),
    st.dictionaries(PARTS, st.dictionaries(PARTS, JSON, max_size=3) | JSON, max_size=4),
)
def test_malformed_manifests_are_stripped_without_failing_and_stripping_is_idempotent(kind, fields):
    source = {"apiVersion": "batch/v1" if kind == "Job" else "v1", "kind": kind, **fields}
    once = objects.strip_server_fields(source)
    assert objects.strip_server_fields(once) == once


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=5))
def test_the_content_hash_does_not_depend_on_the_order_of_keys(value):
    assert objects.content_hash(value) == objects.content_hash(dict(reversed(value.items())))


def test_the_content_hash_tells_contents_apart():
    assert objects.content_hash({"a": 1}) != objects.content_hash({"a": "1"})
    assert objects.content_hash({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


def entry(manager: str = "moorage", operation: str = "Apply", **more: Any) -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "fieldsV1": {"f:data": {"f:a": {}, "f:b": {}}}, **more}


def owning(*entries: Any) -> str:
    return objects.owned_fields({"metadata": {"managedFields": list(entries)}}, "moorage")


def test_what_a_manager_owns_is_what_it_applied_and_nobody_took_since():
    whole = owning(entry())
    assert owning(entry(time="2026-01-01T00:00:00Z", fieldsV1={"f:data": {"f:b": {}, "f:a": {}}})) == whole
    others = (entry("kubectl"), entry(operation="Update"), entry(subresource="status"))
    assert owning(*others, entry()) == whole
    assert owning(*others) == owning() != whole
    assert owning(entry(fieldsV1={"f:data": {"f:a": {}}})) != whole


@pytest.mark.parametrize("metadata", [None, {}, {"managedFields": None}, {"managedFields": ["x"]}])
def test_an_object_of_which_nobody_says_who_owns_it_is_owned_by_nobody(metadata):
    assert objects.owned_fields({"metadata": metadata}, "moorage") == owning()


def owned(manager: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {"uid": "1", "managedFields": [{"manager": manager, "operation": "Update", "fieldsV1": fields}]}


NODE_PORT = {"f:spec": {"f:ports": {'k:{"port":80,"protocol":"TCP"}': {"f:nodePort": {}}}}}
VOLUME = {"f:spec": {"f:volumeName": {}}}


@pytest.mark.parametrize(
    ("kind", "api_version", "spec", "field", "fields"),
    [
        ("Service", "v1", {"ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}]}, "nodePort", NODE_PORT),
        ("PersistentVolumeClaim", "v1", {"volumeName": "pv"}, "volumeName", VOLUME),
    ],
)
def test_what_its_author_wrote_is_kept_in_manifests_and_where_managed_fields_say_so(
    kind: str, api_version: str, spec: dict[str, Any], field: str, fields: dict[str, Any]
) -> None:
    def kept(**metadata: Any) -> bool:
        source = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "x", **metadata}, "spec": spec}
        return field in str(objects.strip_server_fields(source))

    assert kept()
    assert kept(**owned("kubectl-client-side-apply", fields))
    assert not kept(**owned("kube-controller-manager", fields))
    assert not kept(**owned("kubectl", {"f:spec": {"f:ports": {'k:{"port":81,"protocol":"TCP"}': {"f:nodePort": {}}}}}))
    assert not kept(uid="1")
