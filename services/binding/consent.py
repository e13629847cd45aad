"""What is wanted in a target, held against what its owner lets be placed there. Values in, values out."""

from typing import Any

from services.binding.core import Member, Object, Wanted
from services.binding.trouble import Trouble
from shared.hub.terms import allows_kind, is_guarded, is_protected, namespace_in
from shared.kube.objects import content_hash
from shared.model.refs import PlacementRef
from shared.model.target import Terms


def admitted(wanted: Wanted, ref: PlacementRef, terms: Terms) -> Wanted | Trouble:
    """What is wanted, in the namespace that it has in the target; or why its owner does not take it."""
    namespace = namespace_in(terms, ref.workspace, ref.namespace)
    if is_protected(terms, namespace):
        return _refused("NamespaceProtected", f"nothing may be placed into namespace {namespace} of the target")
    for member in wanted.members:
        if is_guarded(member.object) and not allows_kind(terms, member.ref.api_version, member.ref.kind):
            what = f"{member.ref.kind} {member.ref.namespace}/{member.ref.name}"
            return _refused("KindNotAllowed", f"{what}: the target's owner does not list the kind in allowedKinds")
    if namespace == ref.namespace:
        return wanted
    members = tuple(_moved(member, ref.namespace, namespace) for member in wanted.members)
    return Wanted(members, wanted.overrides, wanted.notes)


def _refused(reason: str, message: str) -> Trouble:
    return Trouble("PermissionGranted", reason, message, lasting=True)


def _moved(member: Member, old: str, new: str) -> Member:
    obj = {**member.object, "metadata": {**member.object["metadata"], "namespace": new}}
    if isinstance(obj.get("subjects"), list):  # of a RoleBinding, the one kind that names its own namespace
        obj["subjects"] = [_subject(each, old, new) for each in obj["subjects"]]
    return Member(obj, content_hash(obj))


def _subject(subject: Any, old: str, new: str) -> Object | Any:
    if isinstance(subject, dict) and subject.get("namespace") == old:
        return {**subject, "namespace": new}
    return subject
