"""What is wanted in a target, held against what its owner lets be placed there. Values in, values out."""

from typing import Any

import msgspec

from services.binding.core import Member, Object, Wanted
from services.binding.trouble import Trouble
from shared.hub.scope import brought
from shared.hub.terms import allows_kind, is_guarded, is_protected, namespace_in
from shared.kube.objects import content_hash
from shared.kube.resources import group_of
from shared.kube.text import named
from shared.model.refs import PlacementRef
from shared.model.target import Target


def admitted(wanted: Wanted, ref: PlacementRef, target: Target) -> Wanted | Trouble:
    """What is wanted, in the namespace that it has in the target, or in none; or why its owner does not take it."""
    terms, outside = target.terms, _without_namespace(wanted, target)
    namespace = namespace_in(terms, ref.workspace, ref.namespace)
    if is_protected(terms, namespace):
        return _refused("NamespaceProtected", f"nothing may be placed into namespace {namespace} of the target")
    for member in wanted.members:
        listed = is_guarded(member.object) or kind_of(member.object) in outside
        if listed and not allows_kind(terms, member.ref.api_version, member.ref.kind):
            space = "" if kind_of(member.object) in outside else member.ref.namespace
            what = named(member.ref.kind, member.ref.name, space)
            return _refused("KindNotAllowed", f"{what}: the target's owner does not list the kind in allowedKinds")
    if namespace == ref.namespace and not outside:
        return wanted
    members = tuple(
        _freed(member, ref.namespace, namespace)
        if kind_of(member.object) in outside
        else _moved(member, ref.namespace, namespace)
        for member in wanted.members
    )
    return msgspec.structs.replace(wanted, members=members)


def kind_of(obj: Object) -> tuple[str, str]:
    """Group and kind of an object."""
    return group_of(str(obj["apiVersion"])), str(obj["kind"])


def _without_namespace(wanted: Wanted, target: Target) -> frozenset[tuple[str, str]]:
    """Which of the kinds have no namespaces, as the target serves them, or will by definitions that are wanted."""
    objects = [member.object for member in wanted.members]
    known = {(each.group, each.kind): each.namespaced for each in target.apis}
    coming = {kind: each.namespaced for kind, each in brought(objects).items()}
    return frozenset(kind for kind in map(kind_of, objects) if not {**coming, **known}.get(kind, True))


def _freed(member: Member, old: str, new: str) -> Member:
    """An object of a kind without namespaces: it lies in none, whatever it said or was given."""
    moved = _moved(member, old, new).object
    obj = {**moved, "metadata": {name: value for name, value in moved["metadata"].items() if name != "namespace"}}
    return msgspec.structs.replace(member, object=obj, hash=content_hash(obj))


def _refused(reason: str, message: str) -> Trouble:
    return Trouble("PermissionGranted", reason, message, lasting=True)


def _moved(member: Member, old: str, new: str) -> Member:
    if old == new:
        return member
    obj = {**member.object, "metadata": {**member.object["metadata"], "namespace": new}}
    if isinstance(obj.get("subjects"), list):  # of a RoleBinding, the one kind that names its own namespace
        obj["subjects"] = [_subject(each, old, new) for each in obj["subjects"]]
    return msgspec.structs.replace(member, object=obj, hash=content_hash(obj))


def _subject(subject: Any, old: str, new: str) -> Object | Any:
    if isinstance(subject, dict) and subject.get("namespace") == old:
        return {**subject, "namespace": new}
    return subject
