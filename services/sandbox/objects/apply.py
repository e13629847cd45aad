"""Server-side apply: who owns which field, and what applying a configuration makes of an object. Pure.

A field set is a set of paths; a path is a tuple of the elements of FieldsV1 (`f:<name>`, `k:<keys>`, `v:<value>`).
The rules are those of sigs.k8s.io/structured-merge-diff: maps merge, lists are atomic unless the schema
says `set` or `map`, a field that its last owner drops goes away, and changing another's field is a conflict.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from services.sandbox.errors import Document
from services.sandbox.schemas.schema import child, is_open, item_element

Path = tuple[str, ...]
FieldSet = frozenset[Path]
_encode = msgspec.json.Encoder(order="sorted").encode
_plain = msgspec.json.Encoder().encode
_decode = msgspec.json.decode
_ABSENT: Any = object()
EMPTY: FieldSet = frozenset()
NOBODYS: FieldSet = frozenset({(), ("f:metadata",)})  # there is no object without them
# What a schema's type is as Kubernetes says it, and how it shows what it got instead: as Go prints it.
_GO_TYPES = {
    dict: "map[string]interface {}",
    list: "[]interface {}",
    str: "string",
    bool: "bool",
    int: "int64",
    float: "float64",
}
_EXPECTED = {
    "object": ((dict,), "map, got &{{{value}}}"),
    "array": ((list,), "list, got &{{{value}}}"),
    "string": ((str,), "string, got &value.valueUnstructured{{Value:{value}}}"),
    "boolean": ((bool,), "boolean, got &{{{value}}}"),
    "integer": ((int, float), "numeric (int or float), got {type}"),
    "number": ((int, float), "numeric (int or float), got {type}"),
}


class Owner(NamedTuple):
    """Who owns a field set: a manager with an operation (Apply or Update), through which subresource and version."""

    manager: str
    operation: str
    api_version: str
    subresource: str = ""


Owners = Mapping[Owner, FieldSet]


class Applied(NamedTuple):
    """The object after an apply and the owners of its fields."""

    document: Document
    owners: dict[Owner, FieldSet]


class Conflict(NamedTuple):
    owner: Owner
    path: Path


class ConflictsError(Exception):
    """Fields whose value would change under another owner."""

    def __init__(self, conflicts: list[Conflict]) -> None:
        super().__init__(", ".join(f"{path_text(c.path)} is owned by {c.owner.manager}" for c in conflicts))
        self.conflicts = conflicts


def path_text(path: Path) -> str:
    """`.spec.containers[name="web"].image`, as API servers write it."""
    return "".join(map(_element_text, path))


def _element_text(element: str) -> str:
    kind, value = element[0], element[2:]
    if kind == "f":
        return f".{value}"
    if kind == "k":
        return "[" + ",".join(f"{key}={_encode(item).decode()}" for key, item in _decode(value).items()) + "]"
    return f"[={value}]"


def _children(value: Any, schema: Document) -> dict[str, tuple[Any, Document]] | None:
    """The parts of a value that are owned one by one, by path element; none for a leaf. Null has no parts."""
    if value is None or value is _ABSENT:
        return {}
    if isinstance(value, dict) and schema.get("x-kubernetes-map-type") != "atomic":
        return {f"f:{name}": (item, child(schema, name)) for name, item in value.items()}
    if isinstance(value, list) and (element := item_element(schema)):
        items = schema.get("items") or {}
        return {element(item): (item, items) for item in value}
    return None


def _is_declared(element: str, schema: Document) -> bool:
    return element[2:] in schema.get("properties", ())


def field_set(value: Any, schema: Document) -> FieldSet:
    """The paths of all leaves, of empty maps and nulls, of list items, and of what a map holds that is no struct."""
    return frozenset(_paths(value, schema, ()))


def _paths(value: Any, schema: Document, path: Path) -> Iterator[Path]:
    children = _children(value, schema)
    if children is None:
        yield path
        return
    for element, (item, item_schema) in children.items():
        here = (*path, element)
        if item is None or item == {} or not (element[0] == "f" and _is_declared(element, schema)):
            yield here
        yield from _paths(item, item_schema, here)


def compare(old: Any, new: Any, schema: Document) -> tuple[FieldSet, FieldSet]:
    """Paths that were added or changed, and paths that were removed."""
    changed: set[Path] = set()
    removed: set[Path] = set()
    _compare(old, new, schema, (), changed, removed)
    return frozenset(changed), frozenset(removed)


def _compare(old: Any, new: Any, schema: Document, path: Path, changed: set[Path], removed: set[Path]) -> None:
    if old == new and type(old) is type(new):
        return
    if isinstance(old, dict) and isinstance(new, dict) and schema.get("x-kubernetes-map-type") != "atomic":
        for name in {**old, **new}:  # as below; of two versions of an object most is the same, and need not be named
            item, other = old.get(name, _ABSENT), new.get(name, _ABSENT)
            if item is not other and (item != other or type(item) is not type(other)):
                _compare(item, other, child(schema, name), (*path, f"f:{name}"), changed, removed)
        return
    before, after = _children(old, schema), _children(new, schema)
    if before is None or after is None or not (before or after) or old is _ABSENT or new is _ABSENT:
        (removed if new is _ABSENT else changed).add(path)
    before, after = before or {}, after or {}
    for element in {**before, **after}:
        item, item_schema = before.get(element, (_ABSENT, {}))
        other, other_schema = after.get(element, (_ABSENT, {}))
        if item != other or type(item) is not type(other):
            _compare(item, other, other_schema or item_schema, (*path, element), changed, removed)


def mistyped(value: Any, schema: Document) -> list[str]:
    """What keeps a value from being applied, as `path: message`: a type other than the schema's, a field that it does
    not declare, an item that is there twice or has no key."""
    return list(_mistyped(value, schema, ""))


def _mistyped(value: Any, schema: Document, path: str) -> Iterator[str]:
    wanted = schema.get("type")
    if value is None:
        return
    if isinstance(value, dict) and wanted in (None, "object"):
        for name, item in value.items():
            if is_open(schema) or name in schema.get("properties", ()):
                yield from _mistyped(item, child(schema, name), f"{path}.{name}")
            else:
                yield f"{path}.{name}: field not declared in schema"
    elif isinstance(value, list) and wanted in (None, "array"):
        element, seen = item_element(schema), set()
        for position, item in enumerate(value):
            here = f"[{position}]"
            if element:
                if problem := _unnameable(item, schema):
                    yield f"{path}: element {position}: {problem}"
                    return
                name = element(item)
                here = _element_text(name)
                if name in seen:
                    yield f"{path}: duplicate entries for key {here}"
                seen.add(name)
            yield from _mistyped(item, schema.get("items") or {}, path + here)
    elif (
        wanted in _EXPECTED
        and type(value) not in _EXPECTED[wanted][0]
        and not (wanted == "string" and "format" in schema)
    ):
        text = value if isinstance(value, str) else _encode(value).decode()
        yield f"{path}: expected {_EXPECTED[wanted][1].format(value=text, type=_GO_TYPES[type(value)])}"


def _unnameable(item: Any, schema: Document) -> str:
    """Why an item of a set or a keyed list has no name; empty where it has one."""
    if schema["x-kubernetes-list-type"] == "set":
        kinds = {dict: "an element that's a map type", type(None): "an element that's an explicit null"}
        return f"associative list without keys has {kinds[type(item)]}" if type(item) in kinds else ""
    if not isinstance(item, dict):
        return f"associative list with keys may not have {'a null element' if item is None else 'non-map elements'}"
    return ""


def merge(live: Any, config: Any, schema: Document) -> Any:
    """The live value with the configuration laid over it. A null or an empty container over one with parts is none."""
    before, after = _children(live, schema), _children(config, schema)
    if before is None or after is None or not (before or after):
        return config
    names = _merged_order(list(before), list(after)) if isinstance(live or config, list) else {**before, **after}
    merged = {}
    for element in names:
        if element not in after:
            merged[element] = before[element][0]
        else:
            item, item_schema = after[element]
            merged[element] = merge(before[element][0], item, item_schema) if element in before else item
    return _built(merged, like=live or config)


def _merged_order(live: list[str], config: list[str]) -> list[str]:
    """The configuration's order wins; what it does not name comes where it was, between the others."""
    order: list[str] = []
    pending, known, named = list(config), set(live), set(config)
    for element in live:
        if element not in named:
            order.append(element)
        elif element == next((each for each in pending if each in known), None):
            until = pending.index(element) + 1
            order += pending[:until]
            del pending[:until]
    return order + pending


def _built(parts: dict[str, Any], like: Any) -> Any:
    return list(parts.values()) if isinstance(like, list) else {element[2:]: item for element, item in parts.items()}


def _with_structs(fields: FieldSet, schema: Document) -> set[Path]:
    """The set and the declared fields above its paths, which no set names: they go with what is in them."""
    result = set(fields)
    for path in fields:
        here = schema
        for length, element in enumerate(path[:-1], start=1):
            if element[0] == "f" and _is_declared(element, here):
                result.add(path[:length])
            here = child(here, element[2:]) if element[0] == "f" else here.get("items") or {}
    return result


def _without(value: Any, schema: Document, gone: set[Path], path: Path = ()) -> Any:
    """The value without the paths that are gone; a container that this empties is null, as in Kubernetes."""
    children = _children(value, schema)
    if not children:
        return value
    kept = {
        element: _without(item, item_schema, gone, (*path, element))
        for element, (item, item_schema) in children.items()
        if (*path, element) not in gone
    }
    return _built(kept, like=value) if kept else None


def _pruned(merged: Document, last: FieldSet, owned: FieldSet, schema: Document) -> Document:
    """The merged object without what its applier owned last, but for what anybody owns now, and what others put into
    it without owning the container."""

    def remove(gone: set[Path]) -> Document:
        return _without(merged, schema, gone) or {}

    def fields(document: Document) -> set[Path]:
        return _with_structs(field_set(document, schema), schema)

    lost, everything = _with_structs(last, schema), fields(merged)
    left = remove(everything - fields(remove(lost)) - _with_structs(owned, schema))
    return remove((everything - fields(left)) & lost)


def apply(
    live: Document, config: Document, owner: Owner, owners: Owners, schema: Document, *, force: bool = False
) -> Applied:
    """Lay `config` over `live` for `owner`; what nobody can own, the caller leaves out of both.

    Raises ConflictsError, unless forced, where that changes what others own.
    """
    wanted = field_set(config, schema)
    others = {other: fields for other, fields in owners.items() if other != owner}
    merged = merge(live, config, schema)
    if last := owners.get(owner, EMPTY):
        merged = _pruned(merged, last, wanted.union(*others.values()), schema)
    changed, removed = compare(live, merged, schema)
    conflicts = [
        Conflict(other, path) for other, fields in sorted(others.items()) for path in _in_order(fields & changed)
    ]
    if conflicts and not force:
        raise ConflictsError(conflicts)
    result = {other: fields - changed - removed for other, fields in others.items()}
    result[owner] = wanted
    return Applied(merged, {other: fields for other, fields in result.items() if fields})


def _in_order(fields: FieldSet) -> list[Path]:
    """Those that end at a level before those that go on from there."""
    return sorted(fields, key=lambda path: [(depth < len(path), each) for depth, each in enumerate(path, start=1)])


def update(old: Document, new: Document, owner: Owner, owners: Owners, schema: Document) -> dict[Owner, FieldSet]:
    """Owners after a plain write: the writer takes over what it changed."""
    changed, removed = compare(old, new, schema)
    result = {other: fields - removed - (EMPTY if other == owner else changed) for other, fields in owners.items()}
    if changed := changed - NOBODYS:
        result[owner] = result.get(owner, EMPTY) | changed
    return {other: fields for other, fields in result.items() if fields}


@lru_cache(maxsize=256)  # objects that are made alike are owned alike
def to_fields_v1(fields: FieldSet) -> Document:
    """The nested form that `managedFields` holds; it is shared, so nobody changes it."""
    root: Document = {}
    for path in sorted(fields):  # a prefix sorts before what it prefixes
        node = root
        for element in path[:-1]:
            node = node.setdefault(element, {})
        node.setdefault(path[-1], {})
    for path in fields:
        node = root
        for element in path:
            node = node[element]
        if node:
            node["."] = {}
    return root


def from_fields_v1(node: Document) -> FieldSet:
    """The inverse of `to_fields_v1`."""
    return _fields(_plain(node))


@lru_cache(maxsize=256)
def _fields(encoded: bytes) -> FieldSet:
    return frozenset(_flatten(_decode(encoded), ()))


def _flatten(node: Document, path: Path) -> Iterator[Path]:
    if path and (not node or "." in node):
        yield path
    for element, inner in node.items():
        if element != ".":
            yield from _flatten(inner, (*path, element))
