"""May a requester read what is placed in its name? Nothing is copied to a target that it could not read itself.

The questions go from the whole to the parts, since answers are remembered: everything in the namespace, all objects of
a kind, one object. Of an admin, and those are most, one question is enough.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from shared.hub.access import Access, Action
from shared.kube.resources import Resource
from shared.kube.text import named
from shared.model.request import Permission, Requester

EVERYTHING: Final = Resource("*", "*", "*")


class Item(NamedTuple):
    """One object that is to be read, of a namespace if its kind has them; without a name, all of a kind."""

    resource: Resource
    name: str = ""


class Readable(NamedTuple):
    """The permission to read some items, and one sentence about what may not be read."""

    permission: Permission
    sentence: str = ""


async def may_read(
    access: Access, requester: Requester | None, workspace: str, namespace: str, items: Iterable[Item]
) -> Readable:
    """The permission to `get` all of these. Raises nothing. Nothing tells whether what may not be read is there."""
    wanted = sorted(set(items), key=lambda item: (item.resource.name, item.name))
    if not wanted:
        return Readable("Allowed")
    everything = await access.may(requester, workspace, Action("get", EVERYTHING, namespace))
    if everything == "NoRequester":
        return Readable(everything, "no requester is recorded on the Placement")
    if everything == "Allowed":  # which says nothing of what is in no namespace
        wanted = [item for item in wanted if not item.resource.namespaced]
    for item in wanted:
        where = namespace if item.resource.namespaced else ""
        whole = Action("get", item.resource, where)
        permission = await access.may(requester, workspace, whole)
        if permission != "Allowed" and item.name:
            permission = await access.may(requester, workspace, whole._replace(name=item.name))
        if permission != "Allowed":
            what = _named(item, where)
            unknown = f"nobody can say whether the requester may get {what}"
            return Readable(permission, f"requester may not get {what}" if permission == "Denied" else unknown)
    return Readable("Allowed")


def _named(item: Item, namespace: str) -> str:
    kind = item.resource.kind or item.resource.name
    if item.name:
        return named(kind, item.name, namespace)
    return f"all {kind} objects in namespace {namespace}"
