"""The patch formats other than server-side apply: JSON Patch, merge patch, strategic merge patch. It does no I/O."""

from typing import Any

import jsonpatch
from jsonpointer import JsonPointer, JsonPointerException, resolve_pointer

from services.sandbox.errors import ApiError, bad_request, rejected, too_large
from services.sandbox.schemas.schema import child
from services.sandbox.state.store import encode
from services.sandbox.wire import media

_MAX_OPERATIONS = 10_000  # as in Kubernetes
_MAX_COPIED = 3 * 1024 * 1024  # bytes; copies of copies double with each operation


def patched(kind: str, document: Any, patch: Any, schema: Any) -> Any:
    """The document after the patch. Raises ApiError 400 for a malformed patch, 422 for one that does not apply."""
    if kind == media.JSON_PATCH:
        return _json_patch(document, patch)
    if not isinstance(patch, dict):
        raise bad_request("the patch must be an object")
    return _strategic(document, patch, schema) if kind == media.STRATEGIC_PATCH else merge(document, patch)


def _json_patch(document: Any, patch: Any) -> Any:
    if not isinstance(patch, list) or not all(isinstance(each, dict) for each in patch):
        raise bad_request("a JSON patch is a list of operations")
    if len(patch) > _MAX_OPERATIONS:
        said = f"The allowed maximum operations in a JSON patch is {_MAX_OPERATIONS}, got {len(patch)}"
        raise ApiError(413, "RequestEntityTooLarge", f"Request entity too large: {said}")
    copied = 0
    try:
        for operation in patch:
            action, values = operation["op"], {}
            if action == "replace" and isinstance(JsonPointer(operation["path"]).to_last(document)[0], dict):
                action = "add"  # Kubernetes replaces what is not there, and copies a null from there
            elif action == "copy":
                parent, name = JsonPointer(operation["from"]).to_last(document)
                if isinstance(parent, dict) and name is not None and name not in parent:
                    action, values = "add", {"value": None}
                else:
                    copied += len(encode(resolve_pointer(document, operation["from"])))
                if copied > _MAX_COPIED:
                    raise too_large(_MAX_COPIED)
            document = jsonpatch.JsonPatch([{**operation, "op": action, **values}]).apply(document, in_place=True)
    except (jsonpatch.JsonPatchException, JsonPointerException, TypeError, KeyError, AttributeError) as error:
        raise rejected() from error
    return document


def merge(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge(result.get(name), value)
    return result


def _strategic(target: Any, patch: Any, schema: Any, order: list[Any] | None = None) -> Any:
    """Merge patch in which lists with a merge key (the first of the schema's list keys) merge item by item. `order` is
    how the client wants a list's items ordered."""
    if isinstance(patch, list):
        return _strategic_list(target if isinstance(target, list) else [], patch, schema, order)
    if not isinstance(patch, dict):
        return patch
    if patch.get("$patch") == "replace":
        return {name: value for name, value in patch.items() if name != "$patch"}
    result = dict(target) if isinstance(target, dict) else {}
    orders = {name.partition("/")[2]: value for name, value in patch.items() if name.startswith("$setElementOrder/")}
    for name, value in {**{name: [] for name in orders}, **patch}.items():
        if name.startswith("$deleteFromPrimitiveList/"):
            field = name.partition("/")[2]
            result[field] = [item for item in result.get(field, ()) if item not in value]
        elif name.startswith("$") or (value == [] and name in orders and name not in result):
            continue
        elif value is None or (isinstance(value, dict) and value.get("$patch") == "delete"):
            result.pop(name, None)
        else:
            result[name] = _strategic(result.get(name), value, child(schema, name), orders.get(name))
    if (kept := patch.get("$retainKeys")) is not None:
        result = {name: value for name, value in result.items() if name in kept}
    return result


def _strategic_list(target: list[Any], patch: list[Any], schema: Any, order: list[Any] | None) -> list[Any]:
    kind = schema.get("x-kubernetes-list-type")
    if kind not in ("set", "map") or any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch):
        return [item for item in patch if not (isinstance(item, dict) and "$patch" in item)]
    merge_key = schema["x-kubernetes-list-map-keys"][0] if kind == "map" else ""

    def name(item: Any) -> Any:
        if merge_key and not (isinstance(item, dict) and merge_key in item):
            raise bad_request(f"map: {item} does not contain declared merge key: {merge_key}")
        return item[merge_key] if merge_key else item

    result = {name(item): item for item in target}
    before = list(result)
    for item in patch:
        if merge_key and item.get("$patch") == "delete":
            result.pop(name(item), None)
        else:
            result[name(item)] = _strategic(result.get(name(item)), item, schema.get("items") or {})
    wanted = [name(item) for item in (patch if order is None else order)]
    return [result[each] for each in _interleaved(wanted, before) if each in result]


def _interleaved(wanted: list[Any], before: list[Any]) -> list[Any]:
    """What is wanted, in that order, and what else there was, before the first of those that it came before."""
    others = [each for each in before if each not in wanted]
    ordered: list[Any] = []
    for each in wanted:
        while others and each in before and before.index(others[0]) < before.index(each):
            ordered.append(others.pop(0))
        ordered.append(each)
    return ordered + others
