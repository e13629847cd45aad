"""What is wanted, held against what the target's owner takes."""

from typing import Any

import msgspec

from services.binding.consent import admitted
from services.binding.core import Collected, Wanted, wanted
from services.binding.trouble import Trouble
from shared.api import PlacementSpec
from shared.hub.scope import DEFINITION
from shared.model.refs import PlacementRef
from shared.model.target import ApiKind, Target, Terms
from tests.support.manifests import definition, deployment, obj

REF = PlacementRef(workspace="root:team", namespace="shop", name="web")
RBAC = "rbac.authorization.k8s.io"
CRD = "CustomResourceDefinition.apiextensions.k8s.io"


ROLES = ApiKind(group=RBAC, resource="clusterroles", kind="ClusterRole", versions=("v1",), namespaced=False)


def offering(**terms: Any) -> Target:
    return Target(workspace="root:platform", name="east", apis=(ROLES,), terms=Terms(**terms))


def want(*objects: dict[str, Any], referred: tuple[dict[str, Any], ...] = ()) -> Wanted:
    spec = PlacementSpec(manifests=objects)
    return wanted(REF, spec, Collected(objects, referred), overrides=(), replicas=None, applyset="set")


def test_what_nobody_objects_to_is_wanted_as_it_is() -> None:
    asked = want(deployment())
    assert admitted(asked, REF, offering()) is asked


def test_what_comes_along_by_reference_is_held_against_the_terms_too() -> None:
    asked = want(deployment(), referred=(obj("Endpoints"),))
    refused = admitted(asked, REF, offering())
    assert isinstance(refused, Trouble)
    assert (refused.reason, refused.lasting) == ("KindNotAllowed", True)
    assert isinstance(admitted(asked, REF, offering(allowed_kinds=("Endpoints",))), Wanted)


def test_per_workspace_everything_lies_in_one_namespace_and_a_rolebinding_means_its_own() -> None:
    subjects = [
        {"kind": "ServiceAccount", "name": "web", "namespace": "shop"},
        {"kind": "ServiceAccount", "name": "ci", "namespace": "ci"},
        {"kind": "User", "name": "tess"},
    ]
    grant = obj("RoleBinding", f"{RBAC}/v1", subjects=subjects)
    target = offering(per_workspace=True, allowed_kinds=(f"RoleBinding.{RBAC}",))
    moved = admitted(want(deployment(), grant), REF, target)
    assert isinstance(moved, Wanted)
    (namespace,) = {member.ref.namespace for member in moved.members}
    assert namespace.startswith("shop-")
    binding = next(member.object for member in moved.members if member.ref.kind == "RoleBinding")
    assert [each.get("namespace") for each in binding["subjects"]] == [namespace, "ci", None]
    assert {member.hash for member in moved.members}.isdisjoint(m.hash for m in want(deployment(), grant).members)


def test_what_has_no_namespace_is_wanted_in_none_where_the_owner_lists_its_kind_and_refused_elsewhere() -> None:
    role = obj("ClusterRole", f"{RBAC}/v1", rules=[])
    refused = admitted(want(role), REF, offering())
    assert isinstance(refused, Trouble)
    assert (refused.reason, refused.lasting) == ("KindNotAllowed", True)
    taken = admitted(want(deployment(), role), REF, offering(allowed_kinds=(f"ClusterRole.{RBAC}",)))
    assert isinstance(taken, Wanted)
    assert {member.ref.kind: member.ref.namespace for member in taken.members} == {
        "Deployment": "shop",
        "ClusterRole": "",
    }


def test_a_kind_that_a_definition_brings_has_the_scope_that_this_says() -> None:
    gadgets = definition("example.com", "Gadget")
    gadgets["spec"]["scope"] = "Cluster"
    asked = want(gadgets, obj("Gadget", "example.com/v1alpha1"))
    listed = offering(allowed_kinds=(CRD,))
    of_crds = ApiKind(group=DEFINITION[0], resource="crds", kind=DEFINITION[1], versions=("v1",), namespaced=False)
    refused = admitted(asked, REF, msgspec.structs.replace(listed, apis=(of_crds,)))
    assert isinstance(refused, Trouble)
    assert "Gadget" in refused.message
    both = msgspec.structs.replace(listed, apis=(of_crds,), terms=Terms(allowed_kinds=(CRD, "Gadget.example.com")))
    taken = admitted(asked, REF, both)
    assert isinstance(taken, Wanted)
    assert {member.ref.namespace for member in taken.members} == {""}
