"""What of an object its author wrote, and what was only filled in: defaults, what admission added, what was allocated.

An API server writes down who set which field (`managedFields`, field management in
kubernetes.io/docs/reference/using-api/server-side-apply). Who applies owns what was in the request, and no default; who
creates or updates owns the defaults of that request too. Of client-side `kubectl apply`, which updates, the annotation
`last-applied-configuration` has what was in the request.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from shared.kube.objects import is_manifest, strip_server_fields
from shared.kube.resources import group_of

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_CLIENT_SIDE_APPLY = "kubectl-client-side-apply"
_GROUPS = {"", "apps", "autoscaling", "batch", "networking.k8s.io", "policy"}
"""Kubernetes' own, of which it is known that a default changes no count. What a definition has as the default of a
custom resource may be a number of pods."""
_UNCHANGEABLE = {("", "PersistentVolumeClaim"), ("", "Pod"), ("batch", "Job")}
"""Kinds of whose spec almost nothing can be changed: no field can be taken out of what is in a target either."""

Fields = dict[str, Any]
"""A set of fields as `fieldsV1` nests it; one without any members stands for a value as a whole."""


def as_written(obj: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `obj` as it may be applied elsewhere: `strip_server_fields`, without what of the spec nobody wrote.

    All counts as written where nobody can tell: there are no managedFields, or some are of another version of the API.
    """
    return strip_server_fields(_narrowed(obj))


def _narrowed(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    kind, spec = (group_of(str(obj.get("apiVersion", ""))), str(obj.get("kind", ""))), obj.get("spec")
    if kind[0] not in _GROUPS or kind in _UNCHANGEABLE or not isinstance(spec, dict) or is_manifest(obj):
        return obj
    try:
        fields: Fields = {}
        for each in _written(obj):
            fields = _union(fields, each)
        return {**obj, "spec": part(spec, fields["f:spec"])} if "f:spec" in fields else obj
    except (_Unknown, msgspec.DecodeError, RecursionError):
        return obj


class _Unknown(Exception):
    """Nobody can tell what was written."""


def _written(obj: Mapping[str, Any]) -> Iterator[Fields]:
    """What each manager wrote."""
    for entry in obj["metadata"].get("managedFields") or ():
        if not isinstance(entry, Mapping):
            raise _Unknown
        if entry.get("subresource") == "status":
            continue
        fields = entry.get("fieldsV1")
        if not isinstance(fields, dict) or entry.get("apiVersion") != obj["apiVersion"]:
            raise _Unknown
        applied = _last_applied(obj) if entry.get("manager") == _CLIENT_SIDE_APPLY else None
        yield fields if applied is None else _also_in(fields, applied)


def _last_applied(obj: Mapping[str, Any]) -> Fields | None:
    """The spec of the request by which the object was applied last; None where it does not say."""
    annotations = obj["metadata"].get("annotations")
    text = annotations.get(LAST_APPLIED) if isinstance(annotations, Mapping) else None
    found = msgspec.json.decode(text) if isinstance(text, str) else None
    if not isinstance(found, dict) or not isinstance(found.get("spec"), dict):
        return None
    same = all(found.get(name) == obj.get(name) for name in ("apiVersion", "kind"))
    return {"spec": found["spec"]} if same and found["spec"] else None


def _union(one: Fields, other: Fields) -> Fields:
    return {
        **one,
        **{name: _union(one[name], inner) if name in one else inner for name, inner in other.items()},
    }


def _also_in(fields: Fields, value: Any) -> Fields:
    """The fields that a value has too."""
    if not fields:
        return fields
    found: Fields = {".": {}}
    for name, inner in fields.items():
        for each in _values(name, value):
            found = _union(found, {name: _also_in(inner, each)})
    return found


def _values(name: str, value: Any) -> list[Any]:
    """What is in a value under a name of `fieldsV1`: of a list, all that may be meant, since a key may be a default."""
    if name.startswith("f:"):
        found = value.get(name[2:]) if isinstance(value, dict) else None
        return [] if found is None else [found]
    items = value if isinstance(value, list) else []
    if name.startswith("k:"):
        return [item for item in items if _has_keys(item, _keys(name))]
    if name.startswith("v:"):
        return [item for item in items if item == msgspec.json.decode(name[2:])]
    return []


def part(value: Any, fields: Fields) -> Any:
    """The part of a value that is among the fields; of an item that goes by keys, these too."""
    names = [name for name in fields if name != "."]
    if not fields:
        return value
    if isinstance(value, dict) and all(name.startswith("f:") for name in names):
        return {name: part(each, fields[f"f:{name}"]) for name, each in value.items() if f"f:{name}" in fields}
    if isinstance(value, list) and all(name.startswith(("k:", "v:")) for name in names):
        return [each for item in value for each in _item(item, {name: fields[name] for name in names})]
    return value


def _item(item: Any, fields: Fields) -> list[Any]:
    """The part of an item of a list that is among the list's fields; none where the item is not."""
    for name, inner in fields.items():
        if name.startswith("v:") and msgspec.json.decode(name[2:]) == item:
            return [item]
        if name.startswith("k:") and _has_keys(item, keys := _keys(name)):
            return [part(item, {**{f"f:{key}": {} for key in keys}, **inner}) if inner else item]
    return []


def _has_keys(item: Any, keys: Fields) -> bool:
    return isinstance(item, dict) and all(item.get(key, value) == value for key, value in keys.items())


def _keys(name: str) -> Fields:
    return msgspec.json.decode(name[2:], type=dict[str, Any])
