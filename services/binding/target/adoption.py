"""What was in a target before it was placed: remembered on the object when it is taken over, and given back.

Pure. What is given back is what we own by then, as it was before. What others changed since stays theirs.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from services.binding.core import Member, Object, without_marks
from services.binding.trouble import Trouble
from shared.api import ManifestReference
from shared.hub.names import ADOPTED_ANNOTATION, APPLIER, MANAGED_LABEL, OWNER_ANNOTATION, owner_of, parse_owner
from shared.kube.applyset import APPLYSET_PART_OF
from shared.kube.objects import strip_server_fields
from shared.kube.text import named, told
from shared.model.refs import PlacementRef
from shared.model.target import Terms

_NAMED = 5  # fields that are named in one sentence
_LARGEST = 128 << 10  # bytes; all annotations of an object may have 256 KiB


def is_adopted(obj: Mapping[str, Any]) -> bool:
    """Whether an object of the target was there before it was placed."""
    return ADOPTED_ANNOTATION in _annotations(obj)


def check(found: Object, wanted: Object, ref: ManifestReference, terms: Terms) -> None:
    """Raise Trouble where the target's owner does not let us take over what was there before."""
    match terms.adoption if ref.namespace else "Cluster":
        case "Cluster":
            why = "what has no namespace is never taken over"
        case "TakeOver":
            return
        case "IfEqual":
            if not (fields := differing(found, without_marks(wanted))):
                return
            some = ", ".join(fields[:_NAMED]) + (f" and {len(fields) - _NAMED} more" if len(fields) > _NAMED else "")
            why = told(f"it differs in {some}") + ", and the target's owner lets only equal objects be taken over"
        case _:
            why = "the target's owner does not let it be taken over (adoption of the SyncTarget)"
    said = f"{named(ref.kind, ref.name, ref.namespace)} was in the target before: {why}"
    raise Trouble("ConflictFree", "NotOurs", said, lasting=True)


def check_sharing(member: Member, owner: str, ref: PlacementRef) -> None:
    """Raise Trouble where an object belongs to a Placement (`owner`) that this one may not share it with."""
    if owner == owner_of(ref):
        return
    other, wanted = parse_owner(owner), member.ref
    ours = other is not None and other.workspace == ref.workspace
    if other is not None and ours and other.namespace == ref.namespace and not member.has_pods:
        return
    whose = f"Placement {other.namespace}/{other.name}" if other and ours else "a Placement of another workspace"
    said = f"{named(wanted.kind, wanted.name, wanted.namespace)} in the target belongs to {whose}"
    raise Trouble("ConflictFree", "OwnedByOther", said, lasting=True)


def may_force(terms: Terms) -> bool:
    """Whether fields of what was there before may be taken from their owners."""
    return terms.adoption == "TakeOver"


def memory(found: Object, ref: ManifestReference) -> str:
    """How an object is before we touch it. Raises Trouble for one that is too large for us to remember."""
    text = msgspec.json.encode(without_marks(strip_server_fields(found)), order="deterministic").decode()
    if len(text) > _LARGEST:
        said = f"{named(ref.kind, ref.name, ref.namespace)} was in the target before, and is too large to be taken over"
        raise Trouble("ConflictFree", "NotOurs", said, lasting=True)
    return text


def restored(obj: Object) -> Object | None:
    """The configuration to apply so that the fields that we own are as they were before; our marks stay on for now.

    None where nothing can be restored: nothing is ours any more, or nobody can say how it was.
    """
    fields = _owned(obj)
    if fields is None:
        return None
    try:
        config = _project(msgspec.json.decode(_annotations(obj).get(ADOPTED_ANNOTATION, "")), fields)
    except (msgspec.DecodeError, RecursionError):
        return None
    if not isinstance(config, dict):
        return None
    metadata, now = config.get("metadata") or {}, obj["metadata"]
    labels = _picked(now.get("labels"), (APPLYSET_PART_OF, MANAGED_LABEL))
    annotations = _picked(now.get("annotations"), (OWNER_ANNOTATION,))
    return {
        **config,
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "metadata": {
            **metadata,
            "name": now["name"],
            "namespace": now.get("namespace", ""),
            "labels": {**(metadata.get("labels") or {}), **labels},
            "annotations": {**(metadata.get("annotations") or {}), **annotations},
        },
    }


def release(obj: Object) -> Object:
    """A merge patch that takes our marks off an object as it was read, and ends our ownership of its fields.

    The values stay: an empty configuration would remove them, and an object may not be valid without.
    """
    metadata = obj["metadata"]
    others = [entry for entry in metadata.get("managedFields") or () if entry.get("manager") != APPLIER]
    return {
        "metadata": {
            "resourceVersion": metadata["resourceVersion"],
            "labels": dict.fromkeys((APPLYSET_PART_OF, MANAGED_LABEL)),
            "annotations": dict.fromkeys((OWNER_ANNOTATION, ADOPTED_ANNOTATION)),
            "managedFields": others or [{}],  # by which nobody owns anything
        }
    }


def differing(found: Any, wanted: Any, at: str = "") -> list[str]:
    """The fields that are wanted otherwise than they are, as `.spec.ports[0].port`. Lists have to be as long: one that
    is not differs as a whole.
    """
    if isinstance(wanted, dict) and isinstance(found, dict):
        return [each for name, value in wanted.items() for each in differing(found.get(name), value, f"{at}.{name}")]
    if not wanted and found is None and isinstance(wanted, dict | list | None):
        return []  # nothing is wanted there
    if isinstance(wanted, list) and isinstance(found, list) and len(found) == len(wanted):
        pairs = enumerate(zip(found, wanted, strict=True))
        return [each for number, (there, value) in pairs for each in differing(there, value, f"{at}[{number}]")]
    same = bool(found == wanted) and isinstance(found, bool) == isinstance(wanted, bool)
    return [] if same else [at or "."]


def _owned(obj: Object) -> Object | None:
    """The fields that we own by having applied them, as `fieldsV1`."""
    for entry in obj["metadata"].get("managedFields") or ():
        ours = (entry.get("manager"), entry.get("operation")) == (APPLIER, "Apply")
        if ours and not entry.get("subresource") and isinstance(entry.get("fieldsV1"), dict):
            fields: Object = entry["fieldsV1"]
            return fields
    return None


def _project(value: Any, fields: Object) -> Any:
    """The part of a value that a field set names (`f:` fields, `k:` items by their keys, `v:` items by value)."""
    if isinstance(value, dict):
        named = {name[2:]: inner for name, inner in fields.items() if name.startswith("f:")}
        return {
            name: _project(value[name], inner) if inner else value[name]
            for name, inner in named.items()
            if name in value
        }
    if isinstance(value, list):
        items = [(name[:2], msgspec.json.decode(name[2:]), inner) for name, inner in fields.items() if name[1:2] == ":"]
        return [kept for item in value for kept in _items(item, items)]
    return value


def _items(item: Any, wanted: list[tuple[str, Any, Object]]) -> list[Any]:
    for sort, key, inner in wanted:
        if sort == "v:" and item == key:
            return [item]
        if sort == "k:" and isinstance(item, dict) and isinstance(key, dict) and key.items() <= item.items():
            return [{**key, **_project(item, inner)}]
    return []


def _annotations(obj: Mapping[str, Any]) -> dict[str, str]:
    found = obj["metadata"].get("annotations")
    return found if isinstance(found, dict) else {}


def _picked(values: Any, names: tuple[str, ...]) -> dict[str, str]:
    return {name: values[name] for name in names if isinstance(values, dict) and name in values}
