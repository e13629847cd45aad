"""ApplySets, as their convention has them."""

from shared.kube import applyset
from tests.support.manifests import obj

EXPECTED_ID = "applyset-ot5d93rg6Cq8gAYxxvu25wfIIuPB7glhigzjPURg-U0-v1"


def test_the_applyset_id_is_the_one_of_the_convention():
    # printf 'web.moorage-system.Secret.' | sha256sum, base64url without padding
    assert applyset.applyset_id("web", "moorage-system", "Secret", "") == EXPECTED_ID


def test_the_parent_names_the_kinds_and_the_other_namespaces_of_its_members():
    parent = obj("ConfigMap")
    parent["metadata"]["labels"] = {"keep": "me"}
    members = [
        obj("Deployment", "apps/v1"),
        obj("ConfigMap"),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "other"}},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "x"}},
    ]
    marked = applyset.applyset_parent(parent, members, tooling="moorage/v1.2.3")
    identity = applyset.applyset_id("web", "shop", "ConfigMap", "")
    assert marked["metadata"]["labels"] == {"keep": "me", applyset.APPLYSET_ID: identity}
    assert marked["metadata"]["annotations"] == {
        applyset.APPLYSET_TOOLING: "moorage/v1.2.3",
        applyset.APPLYSET_GROUP_KINDS: "ClusterRole.rbac.authorization.k8s.io,ConfigMap,Deployment.apps",
        applyset.APPLYSET_NAMESPACES: "other",
    }
    assert parent["metadata"]["labels"] == {"keep": "me"}


def test_a_member_is_labelled_and_the_original_left_alone():
    source = obj("ConfigMap")
    assert applyset.applyset_member(source, "applyset-x-v1")["metadata"]["labels"] == {
        applyset.APPLYSET_PART_OF: "applyset-x-v1"
    }
    assert "labels" not in source["metadata"]
