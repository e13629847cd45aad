"""The patch formats other than server-side apply: JSON Patch, merge patch, strategic merge patch. Pure."""

from typing import Any

import jsonpatch
from jsonpointer import JsonPointer, JsonPointerException, resolve_pointer

from services.sandbox.errors import ApiError, bad_request, rejected, too_large
from services.sandbox.schema import child
from services.sandbox.store import encode

JSON = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
_MAX_OPERATIONS = 10_000  # as in Kubernetes
_MAX_COPIED = 3 * 1024 * 1024  # bytes; copies of copies double with each operation


def patched(kind: str, document: Any, patch: Any, schema: Any) -> Any:
    """The document after the patch. Raises ApiError 400 for a malformed patch, 422 for one that does not apply."""
    if kind == JSON:
        return _json_patch(document, patch)
    if not isinstance(patch, dict):
        raise bad_request("the patch must be an object")
    return _strategic(document, patch, schema) if kind == STRATEGIC else merge(document, patch)


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


def _strategic(target: Any, patch: Any, schema: Any) -> Any:
    """Merge patch in which lists with a merge key (the first of the schema's list keys) merge item by item."""
    if isinstance(patch, dict):
        directive = patch.get("$patch")
        if directive == "replace":
            return {name: value for name, value in patch.items() if name != "$patch"}
        result = dict(target) if isinstance(target, dict) else {}
        for name, value in patch.items():
            if name.startswith("$deleteFromPrimitiveList/"):
                field = name.partition("/")[2]
                result[field] = [item for item in result.get(field, ()) if item not in value]
            elif name.startswith("$"):
                continue  # setElementOrder and retainKeys only order and tidy
            elif value is None or (isinstance(value, dict) and value.get("$patch") == "delete"):
                result.pop(name, None)
            else:
                result[name] = _strategic(result.get(name), value, child(schema, name))
        return result
    if isinstance(patch, list):
        return _strategic_list(target if isinstance(target, list) else [], patch, schema)
    return patch


def _strategic_list(target: list[Any], patch: list[Any], schema: Any) -> list[Any]:
    kind = schema.get("x-kubernetes-list-type")
    if kind == "set":
        return target + [item for item in patch if item not in target]
    if kind != "map" or any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch):
        return [item for item in patch if not (isinstance(item, dict) and "$patch" in item)]
    merge_key = schema["x-kubernetes-list-map-keys"][0]
    result = {item.get(merge_key): item for item in target}
    for item in patch:
        if not isinstance(item, dict) or merge_key not in item:
            raise bad_request(f"every item of the patched list needs its merge key {merge_key}")
        name = item[merge_key]
        if item.get("$patch") == "delete":
            result.pop(name, None)
        else:
            result[name] = _strategic(result.get(name), item, schema.get("items") or {})
    return list(result.values())
