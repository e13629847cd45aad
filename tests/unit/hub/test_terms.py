"""What a target's owner decides, as rules."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.hub.names import CLAIM_ANNOTATION
from shared.hub.terms import carried_labels, claim_of, is_free, is_guarded, is_made_by_us, is_protected, namespace_in
from shared.model.target import Terms
from tests.support.manifests import deployment, obj

RBAC = "rbac.authorization.k8s.io"
OURS = [{"manager": "moorage", "operation": "Update"}]


@pytest.mark.parametrize(
    ("namespace", "protected"),
    [
        ("kube-system", True),
        ("kube-", True),
        ("moorage-system", True),
        ("kube", False),
        ("kubernetes", False),
        ("moorage-system2", False),
        ("pay", True),
        ("payments", False),
        ("db-eu", True),
    ],
)
def test_a_namespace_is_protected_by_name_or_by_its_beginning(namespace: str, protected: bool) -> None:
    assert is_protected(Terms(protected_namespaces=("pay", "db-*")), namespace) is protected


@pytest.mark.parametrize(
    ("manifest", "guarded"),
    [
        (deployment(), False),
        (obj("ServiceAccount"), False),
        (obj("Secret", type="Opaque"), False),
        (obj("Secret"), False),
        (obj("Secret", type="kubernetes.io/service-account-token"), True),
        (obj("Secret", type="bootstrap.kubernetes.io/token"), True),
        (obj("Secret", "shop.io/v1", type="kubernetes.io/service-account-token"), False),
        (obj("Endpoints"), True),
        (obj("EndpointSlice", "discovery.k8s.io/v1"), True),
        (obj("Role", f"{RBAC}/v1"), True),
        (obj("RoleBinding", f"{RBAC}/v1beta1"), True),
        (obj("RoleBinding", "authorization.openshift.io/v1"), True),
        ({"apiVersion": 1, "kind": None}, False),
    ],
)
def test_what_gives_rights_or_reaches_beyond_its_namespace_is_guarded(manifest: dict[str, Any], guarded: bool) -> None:
    assert is_guarded(manifest) is guarded


def test_names_per_workspace_differ_by_workspace_and_namespace_and_fit() -> None:
    own = Terms(per_workspace=True)
    long = "a" * 63
    names = {
        namespace_in(own, workspace, namespace)
        for workspace in ("root:a", "root:b", "")
        for namespace in ("shop", long, long[:-1])
    }
    assert len(names) == 9
    assert all(len(name) <= 63 for name in names)
    assert namespace_in(Terms(), "root:a", "shop") == "shop"


@pytest.mark.parametrize(
    ("metadata", "claim", "free"),
    [
        ({}, None, False),
        ({"managedFields": OURS}, None, True),
        ({"managedFields": [{"manager": "moorage-cli"}]}, None, False),
        ({"managedFields": OURS, "annotations": {CLAIM_ANNOTATION: "root:a"}}, "root:a", False),
        ({"managedFields": OURS, "annotations": {CLAIM_ANNOTATION: ""}}, "", False),
        ({"annotations": {CLAIM_ANNOTATION: "root:a"}}, "root:a", False),
        ({"annotations": None, "managedFields": None}, None, False),
    ],
)
def test_a_namespace_is_free_where_we_made_it_and_nobody_claims_it(
    metadata: dict[str, Any], claim: str | None, free: bool
) -> None:
    assert (claim_of({"metadata": metadata}), is_free({"metadata": metadata})) == (claim, free)


MADE = "2026-11-28T12:00:00Z"
NEW = {"creationTimestamp": MADE, "managedFields": [{"manager": "moorage", "time": MADE}]}


@pytest.mark.parametrize(
    ("changes", "ours"),
    [
        ({}, True),
        ({"managedFields": [{"manager": "moorage", "time": "2026-11-28T12:00:01Z"}]}, True),
        ({"creationTimestamp": "2026-11-28T13:00:00Z"}, False),  # restored, or made of a copy
        ({"managedFields": [*NEW["managedFields"], {"manager": "kubectl", "time": MADE}]}, False),
        ({"managedFields": []}, False),
        ({"managedFields": None}, False),
        ({"managedFields": [{"manager": "moorage"}]}, False),
        ({"finalizers": ["example.com/hold"]}, False),
        ({"ownerReferences": [{"name": "tree"}]}, False),
        ({"deletionTimestamp": MADE}, False),
    ],
)
def test_a_namespace_is_ours_where_we_made_it_and_nobody_else_wrote_on_it(changes: dict[str, Any], ours: bool) -> None:
    assert is_made_by_us({"metadata": {**NEW, **changes}}) is ours


@pytest.mark.parametrize("key", [
    "kubernetes.io/metadata.name", "internal.kcp.io/owned", "placement.moorage.io/managed", "field.cattle.io/projectId",
    "kubectl.kubernetes.io/x", "applyset.kubernetes.io/part-of", "helm.sh/chart", "app.kubernetes.io/managed-by",
])  # fmt: skip
def test_what_tools_write_for_themselves_is_neither_carried_nor_spoken_of(key: str) -> None:
    assert carried_labels(Terms(namespace_labels=("*", key)), {key: "x"}) == ({}, ())


LABELS = st.dictionaries(
    st.sampled_from(["team", "pod-security.kubernetes.io/enforce", "security.openshift.io/scc", "a/b"]),
    st.sampled_from(["restricted", "baseline", "privileged"]),
)
PATTERNS = st.lists(st.sampled_from(["*", "team", "t*", "p*", "pod-security*", "a/*", "security.openshift.io"]))


@given(LABELS, PATTERNS)
def test_no_label_is_lost_without_a_word_and_none_gives_rights_that_the_owner_did_not_mean(
    labels: dict[str, str], listed: list[str]
) -> None:
    kept, withheld = carried_labels(Terms(namespace_labels=tuple(listed)), labels)
    assert kept.items() <= labels.items()
    assert sorted((*kept, *withheld)) == sorted(labels)
    loose = {key for key, value in kept.items() if key.startswith(("pod-", "security.")) and value != "restricted"}
    assert not loose
    assert listed or set(kept) <= {"pod-security.kubernetes.io/enforce"}
