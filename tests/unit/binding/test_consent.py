"""What is wanted, held against what the target's owner takes."""

from typing import Any

from services.binding.consent import admitted
from services.binding.core import Collected, Wanted, wanted
from services.binding.trouble import Trouble
from shared.api import PlacementSpec
from shared.model.refs import PlacementRef
from shared.model.target import Terms
from tests.support.manifests import deployment, obj

REF = PlacementRef(workspace="root:team", namespace="shop", name="web")
RBAC = "rbac.authorization.k8s.io"


def want(*objects: dict[str, Any], referred: tuple[dict[str, Any], ...] = ()) -> Wanted:
    spec = PlacementSpec(manifests=objects)
    return wanted(REF, spec, Collected(objects, referred), overrides=(), replicas=None, applyset="set")


def test_what_nobody_objects_to_is_wanted_as_it_is() -> None:
    asked = want(deployment())
    assert admitted(asked, REF, Terms()) is asked


def test_what_comes_along_by_reference_is_held_against_the_terms_too() -> None:
    asked = want(deployment(), referred=(obj("Endpoints"),))
    refused = admitted(asked, REF, Terms())
    assert isinstance(refused, Trouble)
    assert (refused.reason, refused.lasting) == ("KindNotAllowed", True)
    assert isinstance(admitted(asked, REF, Terms(allowed_kinds=("Endpoints",))), Wanted)


def test_per_workspace_everything_lies_in_one_namespace_and_a_rolebinding_means_its_own() -> None:
    subjects = [
        {"kind": "ServiceAccount", "name": "web", "namespace": "shop"},
        {"kind": "ServiceAccount", "name": "ci", "namespace": "ci"},
        {"kind": "User", "name": "tess"},
    ]
    grant = obj("RoleBinding", f"{RBAC}/v1", subjects=subjects)
    terms = Terms(per_workspace=True, allowed_kinds=(f"RoleBinding.{RBAC}",))
    moved = admitted(want(deployment(), grant), REF, terms)
    assert isinstance(moved, Wanted)
    (namespace,) = {member.ref.namespace for member in moved.members}
    assert namespace.startswith("shop-")
    binding = next(member.object for member in moved.members if member.ref.kind == "RoleBinding")
    assert [each.get("namespace") for each in binding["subjects"]] == [namespace, "ci", None]
    assert {member.hash for member in moved.members}.isdisjoint(m.hash for m in want(deployment(), grant).members)
