"""What a target's owner decides, as rules."""

from typing import Any

import pytest

from shared.hub.names import CLAIM_ANNOTATION
from shared.hub.terms import claim_of, is_free, is_guarded, is_protected, namespace_in
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
