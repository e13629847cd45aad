"""What takes a placement back to a revision. Values in, values out."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from shared.api import Placement, PlacementRevision, RevisedObject, to_dict
from shared.hub.rendering import source_hash
from shared.kube.text import named
from shared.kube.written import as_written

Object = dict[str, Any]


class Irrevocable(Exception):
    """Why a revision cannot be gone back to, in one sentence."""


class ObjectChange(msgspec.Struct, frozen=True):
    """An object of the workspace that is to be as it was; `before` is None where it is not there."""

    revised: RevisedObject
    before: Object | None

    @property
    def name(self) -> str:
        ref = self.revised.ref
        return named(ref.kind, ref.name, ref.namespace)

    @property
    def content(self) -> Object:
        """The object as it was."""
        return self.revised.content or {}

    def patch(self) -> Object:
        """A merge patch that makes what there is what it was, on condition that nobody writes it meanwhile. It touches
        nothing that is as it was, so that who wrote that, and what is default, stays on record.
        """
        assert self.before is not None
        now, metadata = as_written(self.before), self.content["metadata"]
        # Of labels and annotations, the server and clients have some that nobody counts as written.
        known: Object = {key: {} for key in ("labels", "annotations") if key in now["metadata"]}
        patch = difference(now, {**self.content, "metadata": {**known, **metadata}})
        version = {"resourceVersion": self.before["metadata"]["resourceVersion"]}
        return {**patch, "metadata": {**patch.get("metadata", {}), **version}}


def difference(now: Mapping[str, Any], then: Mapping[str, Any]) -> Object:
    """The JSON Merge Patch (RFC 7386) that makes one object of the other."""
    found: Object = {key: None for key in now if key not in then}
    for key, value in then.items():
        known = now.get(key)
        if isinstance(value, dict) and isinstance(known, dict):
            if inner := difference(known, value):
                found[key] = inner
        elif value != known:
            found[key] = value
    return found


def chosen(name: str, revisions: Iterable[PlacementRevision], current: str, wanted: str) -> PlacementRevision:
    """The revision that is meant: the one that is `wanted`, or the newest that is not the current one. Raises
    Irrevocable.
    """
    ours = [each for each in revisions if each.spec.placement_ref.name == name]
    newest_first = sorted(ours, key=lambda each: -each.spec.attempt)
    known = ", ".join(each.spec.revision for each in newest_first) or "none"
    if wanted:
        for each in newest_first:
            if each.spec.revision == wanted:
                return each
        raise Irrevocable(f"there is no revision {wanted}; kept are: {known}")
    for each in newest_first:
        if each.spec.revision != current:
            return each
    raise Irrevocable(f"there is no revision before {current or 'this one'}; kept are: {known}")


def changes(revision: str, now: Iterable[tuple[RevisedObject, Object | None]]) -> list[ObjectChange]:
    """The objects of the workspace that are `now` otherwise than in a revision. Raises Irrevocable for what nobody has
    any more.
    """
    found = []
    for revised, obj in now:
        if obj is not None and source_hash(obj) == revised.hash:
            continue
        change = ObjectChange(revised, obj)
        if revised.content is None:
            raise Irrevocable(_unkept(change.name, revised, revision, gone=obj is None))
        found.append(change)
    return found


def _unkept(name: str, revised: RevisedObject, revision: str, *, gone: bool) -> str:
    if revised.ref.kind != "Secret":
        return f"the content of {name} was not kept: revision {revision} is larger than what is kept of one"
    what = "is not there any more" if gone else "has changed since"
    return f"{name} of revision {revision} {what}, and the content of Secrets is not kept: make it as it was, then undo"


def spec_patch(placement: Placement, revision: PlacementRevision) -> Object:
    """What of the Placement's spec is otherwise than it was: manifests and overrides. Raises Irrevocable."""
    known = {source_hash(each): each for each in placement.spec.manifests}
    manifests = []
    for each in revision.spec.objects:
        if each.source == "Manifest":
            content = known.get(each.hash) or each.content
            if content is None:
                name = named(each.ref.kind, each.ref.name, each.ref.namespace)
                raise Irrevocable(_unkept(name, each, revision.spec.revision, gone=True))
            manifests.append(content)
    patch: Object = {}
    if list(map(source_hash, manifests)) != list(map(source_hash, placement.spec.manifests)):
        patch["manifests"] = manifests
    if revision.spec.overrides != placement.spec.overrides:
        patch["overrides"] = to_dict(revision)["spec"].get("overrides", [])
    return patch
