"""The objects that a Placement puts into a target. What is counted is made here, and what is applied: by one function.

selected objects and inline manifests -> overrides of the target -> the target's share of the replicas
"""

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from shared.api import PlacementSpec, TargetOverride, matches
from shared.hub.kinds import BUILT_IN, Kind, Kinds, Path, at_once, looks_like_pods, value_at, with_value
from shared.hub.references import is_in_every_namespace
from shared.hub.scope import overreach
from shared.kube.objects import content_hash, strip_server_fields
from shared.kube.resources import group_of
from shared.kube.written import as_written

Object = dict[str, Any]

MOST_COPIED = 1 << 20
"""Bytes that the `copy` operations of an override may copy within one object: copies of copies double each time."""


class Unfit(ValueError):
    """The objects cannot be made what the Placement asks for; the message says which and why."""


class Rendered(msgspec.Struct, frozen=True):
    """The objects for a target, and the names of the overrides that made them so."""

    objects: tuple[Object, ...]
    overrides: tuple[str, ...] = ()


def matching(overrides: Iterable[TargetOverride], labels: Mapping[str, str]) -> tuple[int, ...]:
    """Which overrides hold in a target of these labels, by their places in the spec."""
    return tuple(place for place, each in enumerate(overrides) if matches(each.target_selector, labels))


def render(
    spec: PlacementSpec,
    namespace: str,
    workload: Iterable[Mapping[str, Any]],
    overrides: Sequence[int] = (),
    replicas: int | None = None,
    kinds: Kinds = BUILT_IN,
) -> Rendered:
    """The objects for a target in which these overrides hold, by their places in the spec.

    `workload` are the selected objects and the manifests as they were read. `replicas` is the target's share where they
    are divided; None leaves them whole, as they are counted. `kinds` are those that its workspace knows.

    Raises:
        Unfit: there is nothing to apply, an object is no object of the namespace or is there twice, an override fits no
            object or changes which object it is, or how many pods there will be cannot be said, or not be divided.
    """
    return rendered(spec, namespace, map(as_written, workload), overrides, replicas, kinds)


def rendered(
    spec: PlacementSpec,
    namespace: str,
    written: Iterable[Object],
    overrides: Sequence[int] = (),
    replicas: int | None = None,
    kinds: Kinds = BUILT_IN,
) -> Rendered:
    """As `render`, of objects as they were written (`as_written`)."""
    objects = _distinct([localized(obj, namespace) for obj in written])
    for obj in objects:
        if is_in_every_namespace(str(obj["apiVersion"]), str(obj["kind"]), str(obj["metadata"]["name"])):
            raise Unfit(f"{_named(obj)} is made by each cluster itself in every namespace, and cannot be placed")
        _check_reach(obj)
    if not objects:
        raise Unfit("the Placement selects no object")
    for place in overrides:
        before, objects = objects, _overridden(objects, spec.overrides[place], place, namespace)
        for obj in objects:
            _check_reach(obj)
        if divides(spec):
            _check_unchanged(before, objects, place, kinds)
    ceilings(objects)
    for obj in objects:
        _check_countable(obj, kinds, divided=divides(spec))
    if divides(spec):
        _check_divisible(objects, kinds)
    if divides(spec) and replicas is not None:
        objects = scale(objects, replicas, kinds)
    return Rendered(tuple(objects), tuple(f"overrides[{place}]" for place in overrides))


def divides(spec: PlacementSpec) -> bool:
    """True if each target gets a share of the replicas, and not all of them."""
    return spec.replicas.division != "Duplicated"


def scale(objects: Sequence[Object], replicas: int, kinds: Kinds = BUILT_IN) -> list[Object]:
    """The objects with a target's share of replicas.

    `replicas` is the share of the object with most of them; others get the same proportion, rounded up, as the
    scheduler counts it.
    """
    paths = [_divided(obj, kinds) for obj in objects]
    counts = [_count(obj, kinds.of(obj)) if path else 0 for obj, path in zip(objects, paths, strict=True)]
    most = max(counts, default=0)
    return [
        with_value(obj, path, math.ceil(replicas * count / most)) if path and most else obj
        for obj, path, count in zip(objects, paths, counts, strict=True)
    ]


Scaled = tuple[str, str, str]
"""Group, kind and name of an object that is scaled by another one."""


def scaled(obj: Mapping[str, Any]) -> Scaled:
    """How an autoscaler names an object."""
    return (*_kind(obj), str(obj["metadata"]["name"]))


def ceilings(objects: Iterable[Object]) -> dict[Scaled, int]:
    """Up to how many replicas the autoscalers among the objects let others among them grow.

    Raises Unfit for one that says no number, and for one of an object that is not among them, which nobody counts.
    """
    known = {scaled(obj) for obj in objects}
    found: dict[Scaled, int] = {}
    for obj in objects:
        if not BUILT_IN.of(obj).autoscales:
            continue
        ref, most = value_at(obj, ("spec", "scaleTargetRef"), {}), value_at(obj, ("spec", "maxReplicas"))
        named = (
            group_of(str(value_at(ref, ("apiVersion",), ""))),
            str(value_at(ref, ("kind",), "")),
            str(value_at(ref, ("name",), "")),
        )
        if isinstance(most, bool) or not isinstance(most, int):
            raise Unfit(f"{_named(obj)}: spec.maxReplicas is no number")
        if named not in known:
            raise Unfit(f"{_named(obj)} scales {named[1]} {named[2]}, which the Placement does not place")
        found[named] = max(found.get(named, 0), most)
    return found


def input_digest(spec: PlacementSpec, hashes: Collection[str], declared: str = "") -> str:
    """A digest of all that decides what is applied and counted in a target, besides what is decided for it.

    `hashes` are those of the selected objects and the manifests, as `source_hash` has them; `declared` is a digest of
    what is declared of their kinds, empty where all are built in.
    """
    parts = (
        spec.overrides,
        spec.replicas.division,
        spec.conflict_policy,
        spec.follow_references,
        sorted(set(hashes)),
        *([declared] if declared else ()),
    )
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()[:32]


def source_hash(obj: Mapping[str, Any]) -> str:
    """A hash of what of an object is placed, as its workspace has it."""
    return content_hash(as_written(obj))


def _overridden(objects: Sequence[Object], override: TargetOverride, place: int, namespace: str) -> list[Object]:
    """The objects with one override.

    Its JSON Patch changes each object as a whole or not at all: where an operation finds no place (or a `test` fails),
    that object is left as it is. One that changes no object at all is refused, it is a mistake.
    """
    results = [_patched(obj, override, namespace) for obj in objects]
    if not any(result is not None for result in results):
        raise Unfit(f"overrides[{place}] fits none of the {len(objects)} objects")
    return [obj if result is None else result for obj, result in zip(objects, results, strict=True)]


def _patched(obj: Object, override: TargetOverride, namespace: str) -> Object | None:
    import jsonpatch  # 20 ms and 4 MB, for overrides alone

    result: Any = msgspec.to_builtins(obj)
    left = MOST_COPIED
    try:
        for operation in msgspec.to_builtins(override.patches):  # anew for each object: patching may change the values
            if operation["op"] == "copy":
                left -= len(msgspec.json.encode(jsonpatch.JsonPointer(operation["from"]).resolve(result)))
                if left < 0:
                    raise Unfit(f"an override copies more than {MOST_COPIED} bytes within {_named(obj)}")
            result = jsonpatch.JsonPatch([operation]).apply(result, in_place=True)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError, LookupError, AttributeError):
        return None
    if not isinstance(result, dict) or _names(result) != _names(obj):
        raise Unfit(f"an override would make another object of {_named(obj)}: kind and name cannot be changed")
    return localized(strip_server_fields(result), namespace)


def _check_unchanged(before: Sequence[Object], after: Sequence[Object], place: int, kinds: Kinds) -> None:
    """Raise Unfit where an override changes a number that is divided: shares of what would be nobody's to say."""
    for old, new in zip(before, after, strict=True):
        kind = kinds.of(old)
        path = kind.counted
        if path is not None and _count(old, kind) != _count(new, kind):
            said = f"overrides[{place}] changes {'.'.join(path)} of {_named(old)}"
            raise Unfit(f"{said}, which the Placement divides among targets")


def _check_reach(obj: Object) -> None:
    if why := overreach(obj):
        raise Unfit(f"{_named(obj)} {why}")


def _check_countable(obj: Object, kinds: Kinds, *, divided: bool) -> None:
    kind = kinds.of(obj)
    if kind.unsettles:
        raise Unfit(f"{_named(obj)} would change what runs in the target after it was counted")
    if not kind.known and looks_like_pods(obj):
        raise Unfit(f"{_named(obj)} has pods that nobody counts: a WorkloadKind says where a kind keeps them")
    for path in kind.grows:
        if value_at(obj, path) is True:
            raise Unfit(f"{_named(obj)} has {'.'.join(path)}, by which its pods change after they were counted")
    if not divided:
        return
    if kind.autoscales:
        raise Unfit(f"{_named(obj)} scales what the Placement divides among targets")
    if kind.completions and not kind.recurring and value_at(obj, kind.completions, 1) != 1:
        raise Unfit(f"{_named(obj)} has {'.'.join(kind.completions)}, which cannot be divided among targets")


def _check_divisible(objects: Sequence[Object], kinds: Kinds) -> None:
    if all(_divided(obj, kinds) is None for obj in objects):
        raise Unfit("replicas are to be divided among targets, and nothing that is placed has any")


def _distinct(objects: Iterable[Object]) -> list[Object]:
    """Each object once, in their order. Raises Unfit where two say different things of one."""
    found: dict[tuple[Any, ...], Object] = {}
    for obj in objects:
        if found.setdefault((*_kind(obj), obj["metadata"]["name"]), obj) != obj:
            raise Unfit(f"{_named(obj)} is placed twice, with different content")
    return list(found.values())


def _kind(obj: Mapping[str, Any]) -> tuple[str, str]:
    return group_of(str(obj["apiVersion"])), str(obj["kind"])


def _named(obj: Mapping[str, Any]) -> str:
    metadata = obj.get("metadata")
    return f"{obj.get('kind')} {metadata.get('name') if isinstance(metadata, Mapping) else ''}"


def _names(obj: Mapping[str, Any]) -> tuple[Any, ...]:
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict):
        return ()
    return (obj.get("apiVersion"), obj.get("kind"), metadata.get("namespace"), metadata.get("name"))


def localized(obj: Object, namespace: str) -> Object:
    """An object as it may be placed: it names itself, and lies in the Placement's own namespace. Raises Unfit."""
    metadata = obj.get("metadata")
    names = (obj.get("apiVersion"), obj.get("kind"), metadata.get("name") if isinstance(metadata, dict) else None)
    if not isinstance(metadata, dict) or not all(isinstance(each, str) and each for each in names):
        raise Unfit("a manifest lacks apiVersion, kind or metadata.name")
    found = metadata.get("namespace") or namespace
    if found != namespace:
        raise Unfit(f"{_named(obj)} is in namespace {found}, the Placement in {namespace}")
    if not all(isinstance(metadata.get(each) or {}, dict) for each in ("labels", "annotations")):
        raise Unfit(f"{_named(obj)}: its labels and annotations are no mappings")
    return {**obj, "metadata": {**metadata, "namespace": found}}


def _divided(obj: Mapping[str, Any], kinds: Kinds) -> Path | None:
    """Where an object's replicas are; None for a kind without any, and for an object of another shape."""
    path = kinds.of(obj).counted
    return path if path is not None and isinstance(value_at(obj, path[:-1]), dict) else None


def _count(obj: Mapping[str, Any], kind: Kind) -> int:
    """What counts of an object as its replicas. An absent number means one, as the API server would default it."""
    try:
        return at_once(obj, kind)
    except ValueError as error:
        raise Unfit(f"{_named(obj)}: {error}") from None
