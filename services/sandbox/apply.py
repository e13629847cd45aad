"""Server-side apply: who owns which field, and what applying a configuration makes of an object. Pure.

A field set is a set of paths; a path is a tuple of the elements of FieldsV1 (`f:<name>`, `k:<keys>`, `v:<value>`).
The rules are those of sigs.k8s.io/structured-merge-diff: maps merge, lists are atomic unless the schema
says `set` or `map`, a field that its last owner drops goes away, and changing another's field is a conflict.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from services.sandbox.errors import Document
from services.sandbox.schema import child, item_element

Path = tuple[str, ...]
FieldSet = frozenset[Path]
_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.decode
_ABSENT: Any = object()
EMPTY: FieldSet = frozenset()


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
    text = ""
    for element in path:
        kind, value = element[0], element[2:]
        if kind == "f":
            text += f".{value}"
        elif kind == "k":
            text += "[" + ",".join(f"{key}={_encode(item).decode()}" for key, item in _decode(value).items()) + "]"
        else:
            text += f"[={value}]"
    return text


def _is_map(value: Any, schema: Document) -> bool:
    return isinstance(value, dict) and schema.get("x-kubernetes-map-type") != "atomic"


def _children(value: Any, schema: Document) -> dict[str, tuple[Any, Document]] | None:
    """The parts of a value that are owned one by one, by path element; none for a leaf."""
    if _is_map(value, schema):
        return {f"f:{name}": (item, child(schema, name)) for name, item in value.items()} or None
    if isinstance(value, list) and value and (element := item_element(schema)):
        items = schema.get("items") or {}
        return {element(item): (item, items) for item in value}
    return None


def _is_container(value: Any, schema: Document) -> bool:
    """Whether the parts of the value are owned one by one, even if there are none now."""
    return _is_map(value, schema) or (isinstance(value, list) and item_element(schema) is not None)


def field_set(value: Any, schema: Document) -> FieldSet:
    """The paths of all leaves, and of the items of keyed lists themselves."""
    return frozenset(_paths(value, schema, ()))


def _paths(value: Any, schema: Document, path: Path) -> Iterator[Path]:
    children = _children(value, schema)
    if children is None:
        if path:
            yield path
        return
    if path and path[-1][0] == "k":
        yield path
    for element, (item, item_schema) in children.items():
        yield from _paths(item, item_schema, (*path, element))


def compare(old: Any, new: Any, schema: Document) -> tuple[FieldSet, FieldSet]:
    """Paths that were added or changed, and paths that were removed."""
    changed: set[Path] = set()
    removed: set[Path] = set()
    _compare(old, new, schema, (), changed, removed)
    return frozenset(changed), frozenset(removed)


def _compare(old: Any, new: Any, schema: Document, path: Path, changed: set[Path], removed: set[Path]) -> None:
    if old is not _ABSENT and new is not _ABSENT and old == new and type(old) is type(new):
        return
    before, after = _children(old, schema), _children(new, schema)
    if before is None and after is None:
        (removed if new is _ABSENT else changed).add(path)
        return
    if old is _ABSENT or new is _ABSENT:
        if path:  # whoever brings a map or a keyed list brings that itself too
            (removed if new is _ABSENT else changed).add(path)
    elif not (_is_container(old, schema) and _is_container(new, schema)):
        (changed if after is None else removed).add(path)  # a leaf became a container, or the other way round
    before, after = before or {}, after or {}
    for element in {**before, **after}:
        item, item_schema = before.get(element, (_ABSENT, {}))
        other, other_schema = after.get(element, (_ABSENT, {}))
        _compare(item, other, other_schema or item_schema, (*path, element), changed, removed)


def merge(live: Any, config: Any, schema: Document) -> Any:
    """The live value with the configuration laid over it."""
    if _is_map(live, schema) and _is_map(config, schema):
        merged = dict(live)
        for name, value in config.items():
            merged[name] = merge(live[name], value, child(schema, name)) if name in live else value
        return merged
    element = item_element(schema)
    if not (isinstance(live, list) and isinstance(config, list) and element):
        return config
    old = {element(item): item for item in live}
    pending = {element(item): item for item in config}
    merged_items = []
    for name, item in old.items():  # the configuration's order wins; what it does not name keeps its place
        if name not in pending:
            if name not in {element(applied) for applied in config}:
                merged_items.append(item)
            continue
        for earlier in list(pending):
            applied = pending.pop(earlier)
            known = earlier in old
            merged_items.append(merge(old[earlier], applied, schema.get("items") or {}) if known else applied)
            if earlier == name:
                break
    return merged_items + list(pending.values())


def _remove(value: Any, schema: Document, path: Path, gone: set[Path], held: set[Path]) -> Any:
    """The value without the paths that are gone; a container that this empties goes too, unless it is held."""
    children = _children(value, schema)
    if children is None or not any(lost[: len(path)] == path for lost in gone):
        return value
    kept = {}
    for element, (item, item_schema) in children.items():
        here = (*path, element)
        if here not in gone and (rest := _remove(item, item_schema, here, gone, held)) is not _ABSENT:
            kept[element] = rest
    if not kept and path not in held:
        return _ABSENT
    return {element[2:]: item for element, item in kept.items()} if isinstance(value, dict) else list(kept.values())


def apply(
    live: Document, config: Document, owner: Owner, owners: Owners, schema: Document, *, force: bool = False
) -> Applied:
    """Lay `config` over `live` for `owner`; what `config` must not own, the caller leaves out of it.

    Raises ConflictsError, unless forced, where that changes what others own.
    """
    wanted = field_set(config, schema)
    others = {other: fields for other, fields in owners.items() if other != owner}
    merged = merge(live, config, schema)
    dropped = owners.get(owner, EMPTY) - wanted
    if dropped:
        held = {path[:length] for fields in (*others.values(), wanted) for path in fields for length in _lengths(path)}
        merged = _remove(merged, schema, (), {path for path in dropped if path not in held}, held)
        merged = {} if merged is _ABSENT else merged
    changed, removed = compare(live, merged, schema)
    conflicts = [Conflict(other, path) for other, fields in sorted(others.items()) for path in sorted(fields & changed)]
    if conflicts and not force:
        raise ConflictsError(conflicts)
    result = {other: fields - changed - removed for other, fields in others.items()}
    result[owner] = wanted
    return Applied(merged, {other: fields for other, fields in result.items() if fields})


def update(old: Document, new: Document, owner: Owner, owners: Owners, schema: Document) -> dict[Owner, FieldSet]:
    """Owners after a plain write: the writer takes over what it changed."""
    changed, removed = compare(old, new, schema)
    result = {other: fields - removed - (EMPTY if other == owner else changed) for other, fields in owners.items()}
    result[owner] = result.get(owner, EMPTY) | changed
    return {other: fields for other, fields in result.items() if fields}


def _lengths(path: Path) -> range:
    return range(1, len(path) + 1)


def to_fields_v1(fields: FieldSet) -> Document:
    """The nested form that `managedFields` holds."""
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
    return frozenset(_flatten(node, ()))


def _flatten(node: Document, path: Path) -> Iterator[Path]:
    if path and (not node or "." in node):
        yield path
    for element, inner in node.items():
        if element != ".":
            yield from _flatten(inner, (*path, element))
