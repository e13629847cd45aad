"""What exactly is applied in one target: values in, values out."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from services.binding.trouble import Trouble
from shared.api import ManifestReference, ObjectReference, PlacementSpec
from shared.hub.kinds import BUILT_IN, Kind, Kinds, expires, value_at, with_value
from shared.hub.names import MANAGED_LABEL, OWNER_ANNOTATION, RESERVED_PREFIXES, owner_of
from shared.hub.references import REFERRED
from shared.hub.rendering import localized, render, source_hash
from shared.kube.applyset import applyset_member
from shared.kube.objects import content_hash
from shared.kube.resources import SERVICES, group_of
from shared.kube.written import as_written
from shared.model.refs import PlacementRef

Object = dict[str, Any]


_ORDER = ("CustomResourceDefinition", "ServiceAccount", "ConfigMap", "Secret", "PersistentVolumeClaim", "Service")


class Member(msgspec.Struct, frozen=True):
    """One object as it is to be in the target, the hash of its content, and of the object that it is from the uid and
    the generation.

    `ends`: it may run to its end; `expires`: its cluster deletes it some time after that; `work` is then a digest of
    what it does.
    """

    object: Object
    hash: str
    source: str = ""
    generation: int = 0
    has_pods: bool = False
    ends: bool = False
    expires: bool = False
    work: str = ""

    @property
    def ref(self) -> ManifestReference:
        metadata = self.object["metadata"]
        return ManifestReference(
            api_version=self.object["apiVersion"],
            kind=self.object["kind"],
            name=metadata["name"],
            namespace=metadata.get("namespace", ""),
            hash=self.hash,
            source=self.source,
            source_generation=self.generation,
        )


class UnreadPart(msgspec.Struct, frozen=True):
    """A selector of which it cannot be read (any more) what it selects, and why."""

    api_version: str
    kind: str
    name: str | None
    trouble: Trouble
    optional: bool = False  # nothing of it may have been there, ever

    def means(self, ref: ObjectReference) -> bool:
        """Whether an object may be one that it selects."""
        same = (group_of(ref.api_version), ref.kind) == (group_of(self.api_version), self.kind)
        return same and self.name in (None, ref.name)


class Wanted(msgspec.Struct, frozen=True):
    """All that is to be in the target, in the order in which it is applied; and what is `kept` there as it is, since
    it, or what names it, is `unread`. `revision` stands for what changes by steps, see `revision_of`; with it is what
    was `collected`."""

    members: tuple[Member, ...]
    overrides: tuple[str, ...]
    notes: tuple[str, ...] = ()
    unread: tuple[UnreadPart, ...] = ()
    kept: tuple[ManifestReference, ...] = ()
    revision: str = ""
    collected: "Collected | None" = None

    @property
    def refs(self) -> tuple[ManifestReference, ...]:
        return (*(member.ref for member in self.members), *self.kept)


def keeping(wanted: Wanted, there: Sequence[ManifestReference]) -> Wanted:
    """What is wanted, with what of all that is `there` is to stay as it was applied: what cannot be read any more, and
    what may have come along with it.

    Raises the Trouble of what cannot be read where nothing of it is there.
    """
    if not wanted.unread:
        return wanted
    known = {identity(member.ref) for member in wanted.members}
    others = [ref for ref in there if identity(ref) not in known]
    parts = []
    for each in wanted.unread:
        if any(map(each.means, others)):
            parts.append(each)
        elif not each.optional:
            raise each.trouble
    if not parts:
        return wanted
    kept = [ref for ref in others if _may_come_along(ref) or any(each.means(ref) for each in parts)]
    notes = [f"{each.trouble.message}: what is there of it stays as it was applied." for each in parts]
    return msgspec.structs.replace(wanted, kept=tuple(kept), notes=(*wanted.notes, *notes))


def _may_come_along(ref: ManifestReference) -> bool:
    return not group_of(ref.api_version) and ref.kind in (*REFERRED, SERVICES.kind)


class Collected(msgspec.Struct, frozen=True):
    """What was read from the workspace: the workload, what it refers to, what could not be found, and its kinds."""

    workload: tuple[Object, ...]
    referred: tuple[Object, ...] = ()
    notes: tuple[str, ...] = ()
    kinds: Kinds = BUILT_IN
    unread: tuple[UnreadPart, ...] = ()


Identity = tuple[str, str, str, str]


def identity(ref: ObjectReference) -> Identity:
    """Group, kind, namespace and name: what makes two references mean the same object, whatever their version."""
    return (group_of(ref.api_version), ref.kind, ref.namespace, ref.name)


def wanted(
    ref: PlacementRef,
    spec: PlacementSpec,
    collected: Collected,
    *,
    overrides: Sequence[int],
    replicas: int | None,
    applyset: str,
) -> Wanted:
    """What is to be in one target where these overrides hold (by their places in the spec), ready to be applied.

    Raises Unfit as `render`.
    """
    rendered = render(spec, ref.namespace, collected.workload, overrides, replicas, collected.kinds)
    referred = [localized(as_written(obj), ref.namespace) for obj in collected.referred]
    sources = {_named(each): each.get("metadata") for each in (*collected.workload, *collected.referred)}
    members: dict[Identity, Member] = {}
    for obj in (*rendered.objects, *referred):
        marked = applyset_member(_marked(obj, ref), applyset)
        kind = collected.kinds.of(obj)
        source, generation = _version(sources.get(_named(obj)))
        member = Member(
            object=marked,
            hash=content_hash(marked),
            source=source,
            generation=generation,
            has_pods=kind.has_pods,
            ends=kind.ends,
            expires=expires(obj, kind),
            work=_work(obj, kind) if kind.ends else "",
        )
        members.setdefault(identity(member.ref), member)
    ordered = sorted(members.values(), key=lambda member: (rank(member.ref), identity(member.ref)))
    found = Wanted(tuple(ordered), rendered.overrides, collected.notes, collected.unread)
    if spec.rollout is None:
        return found
    return msgspec.structs.replace(found, revision=revision_of(spec, collected), collected=collected)


def revision_of(spec: PlacementSpec, collected: Collected) -> str:
    """What is placed, in all targets alike: a digest of the objects that are selected or come along, and of the
    overrides. How replicas are divided is no part of it, since that is decided for each target.
    """
    hashes = sorted({source_hash(each) for each in (*collected.workload, *collected.referred)})
    return hashlib.sha256(msgspec.json.encode((hashes, spec.overrides), order="deterministic")).hexdigest()[:16]


def _work(obj: Object, kind: Kind) -> str:
    """A digest of what an object does: who labels it, or divides it otherwise, does not ask for another run."""
    bare = {name: value for name, value in obj.items() if name != "metadata"}
    if kind.counted is not None and isinstance(value_at(obj, kind.counted[:-1]), dict):
        bare = with_value(bare, kind.counted, None)
    return content_hash(bare)[:16]


def _named(obj: Object) -> tuple[str, ...]:
    metadata = obj.get("metadata")
    return (
        group_of(str(obj.get("apiVersion", ""))),
        str(obj.get("kind", "")),
        str(metadata.get("name", "")) if isinstance(metadata, dict) else "",
    )


def _version(metadata: Any) -> tuple[str, int]:
    """The uid and the generation that an API server gave an object; nothing for what is of none."""
    found = metadata if isinstance(metadata, dict) else {}
    uid, generation = found.get("uid"), found.get("generation")
    if not isinstance(uid, str) or not uid:
        return "", 0
    return uid, generation if isinstance(generation, int) else 0


def rank(ref: ManifestReference) -> int:
    """What is applied first has the lowest rank; whatever is not named comes with the workloads, last."""
    return _ORDER.index(ref.kind) if ref.kind in _ORDER else len(_ORDER)


def reference(obj: Mapping[str, Any]) -> ManifestReference:
    """A reference to an object, without a hash."""
    metadata = obj["metadata"]
    return ManifestReference(
        api_version=obj["apiVersion"],
        kind=obj["kind"],
        name=metadata["name"],
        namespace=metadata.get("namespace") or "",
    )


def without_marks(obj: Object) -> Object:
    """An object without the labels and annotations that mean something to us, whoever wrote them."""
    metadata = dict(obj["metadata"])
    for field in ("labels", "annotations"):
        if isinstance(metadata.get(field), dict):
            metadata[field] = {
                name: value for name, value in metadata[field].items() if not name.startswith(RESERVED_PREFIXES)
            }
    return {**obj, "metadata": metadata}


def _marked(obj: Object, ref: PlacementRef) -> Object:
    obj = without_marks(obj)
    metadata = dict(obj["metadata"])
    metadata["labels"] = {**(metadata.get("labels") or {}), MANAGED_LABEL: "true"}
    metadata["annotations"] = {**(metadata.get("annotations") or {}), OWNER_ANNOTATION: owner_of(ref)}
    return {**obj, "metadata": metadata}
