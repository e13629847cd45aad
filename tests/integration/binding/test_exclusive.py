"""Of two Placements that make one object without a namespace at the same moment, one has it."""

import pytest

from services.binding.core import Member
from services.binding.target.anew import may_replace
from services.sandbox.wire.http import Request
from shared.api import BoundObject, ObjectReference
from shared.broker.bus import Retry
from shared.hub.names import APPLIER, OWNER_ANNOTATION
from shared.kube.resources import CLUSTERROLES
from shared.model.target import ApiKind
from tests.support.binders import binders
from tests.support.manifests import definition, obj
from tests.support.owning import apply, place
from tests.support.scene import Scene

RBAC = "rbac.authorization.k8s.io"
ROLES = ApiKind(group=RBAC, resource="clusterroles", kind="ClusterRole", versions=("v1",), namespaced=False)
ROLE = obj(
    "ClusterRole", f"{RBAC}/v1", name="both", rules=[{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
)
OTHERS = {OWNER_ANNOTATION: "root:rival|shop|web"}


async def test_who_was_faster_by_a_moment_keeps_it_and_the_other_changes_nothing(scene: Scene) -> None:
    await scene.agree(apis=(ROLES,), allowed_kinds=(f"ClusterRole.{RBAC}",))
    east, made = scene.targets["east"], []

    async def be_faster(request: Request) -> None:
        if request.method == "POST" and request.path.endswith("/clusterroles") and not made:
            made.append(request)
            theirs = {**ROLE, "metadata": {"name": "both", "annotations": OTHERS}, "rules": []}
            await east.apply(CLUSTERROLES, theirs, field_manager=APPLIER)

    async with binders(scene) as make:
        binder = make()
        ref = await place(scene, manifests=[ROLE])
        scene.tap(before=be_faster)
        with pytest.raises(Retry):
            await binder.bind(scene.assigned(ref, await scene.decide(ref, "east")))
    assert made
    found = await east.get(CLUSTERROLES, "both")
    assert (found["metadata"]["annotations"], found.get("rules") or []) == (OTHERS, [])


async def test_fields_of_what_was_made_are_removed_when_they_are_not_wanted_any_more(scene: Scene) -> None:
    await scene.agree(apis=(ROLES,), allowed_kinds=(f"ClusterRole.{RBAC}",))
    async with binders(scene) as make:
        ref = await place(scene, manifests=[{**ROLE, "metadata": {"name": "both", "labels": {"a": "b"}}}])
        await apply(scene, make(), ref)
    found = await scene.targets["east"].get(CLUSTERROLES, "both")
    owners = {(each["manager"], each["operation"]) for each in found["metadata"]["managedFields"]}
    assert (found["metadata"]["labels"]["a"], owners) == ("b", {(APPLIER, "Apply")})


def test_a_definition_is_never_deleted_to_be_made_anew() -> None:
    widgets = definition("example.com", "Widget")
    name = widgets["metadata"]["name"]
    ref = ObjectReference(api_version=widgets["apiVersion"], kind=widgets["kind"], name=name)
    before = BoundObject(ref=ref, uid="u", source="one")
    assert not may_replace(Member(widgets, "h", source="other"), before, recreate=True)
