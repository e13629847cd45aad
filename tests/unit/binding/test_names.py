"""Objects as sentences about a target name them."""

from typing import Any

import pytest

from services.binding import core
from services.binding.target import anew, comparison, fields, leaving
from shared.api import ManifestReference, ObjectDifference
from shared.kube.errors import ApiError

ROLE = ManifestReference(api_version="rbac.authorization.k8s.io/v1", kind="ClusterRole", name="viewer")


def deleted(**metadata: Any) -> core.Object:
    return {
        "kind": "ClusterRole",
        "metadata": {"name": "viewer", "deletionTimestamp": "2026-01-01T00:00:00Z"} | metadata,
    }


@pytest.mark.parametrize(("namespace", "named"), [("", "ClusterRole viewer "), ("shop", "ClusterRole shop/viewer ")])
def test_what_is_still_there_is_named_with_its_namespace_where_it_has_one(namespace: str, named: str) -> None:
    metadata = {"namespace": namespace} if namespace else {}
    said = leaving.removing([deleted(**metadata)], "target one").message
    assert said.startswith(f"target one: {named}is being deleted")


def test_what_has_no_namespace_is_named_without_in_every_sentence_about_a_target() -> None:
    differs = ObjectDifference(ref=core.reference({"apiVersion": ROLE.api_version, **deleted()}), missing=True)
    error = ApiError(409, reason="Conflict", message="no")
    said = [
        comparison.reported([differs], 1, "target one").message,
        fields.conflict(ROLE, error).message,
        anew.refused(ROLE, error).message,
    ]
    assert all("ClusterRole viewer" in each and " /viewer" not in each for each in said), said
