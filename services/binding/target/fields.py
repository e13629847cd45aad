"""Conflicts over fields: an object is applied without those that others own."""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from services.binding.core import Object
from services.binding.errors import contested, managers
from services.binding.trouble import Trouble
from shared.api import ManifestReference
from shared.kube.errors import ApiError
from shared.kube.text import named, told

_STEP = re.compile(r'\.(?P<name>[^.\[\]]+)|\[(?P<keys>[^\]=]+="?[^\]]*)\]|\[=(?P<value>[^\]]*)\]')
_KEY = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|[^,]+)')


def uncontested(obj: Object, error: ApiError) -> Object | None:
    """An object without the fields that a conflict names; None where one of them cannot be found in it."""
    rest: Object = msgspec.to_builtins(obj)
    for field in contested(error):
        if not _removed(rest, field):
            return None
    return rest


def conflict(ref: ManifestReference, error: ApiError) -> Trouble:
    """The trouble that a conflict is: it names the object, its fields, and who owns them."""
    owners, fields = ", ".join(sorted(managers(error))), ", ".join(sorted(contested(error)))
    said = told(f"{named(ref.kind, ref.name, ref.namespace)}: {owners} owns {fields}")
    return Trouble("ConflictFree", "FieldConflict", f"{said}; conflictPolicy TakeOver would take it over", lasting=True)


def _removed(obj: Any, field: str) -> bool:
    """Take a field, as API servers name it (`.spec.ports[port=80].nodePort`), out of an object; False if that is not
    possible.
    """
    steps = list(_STEP.finditer(field))
    if not steps or "".join(each.group() for each in steps) != field or not steps[-1]["name"]:
        return False
    for step in steps[:-1]:
        if step["name"]:
            obj = obj.get(step["name"]) if isinstance(obj, dict) else None
        elif step["keys"]:
            obj = _item(obj, _KEY.findall(step["keys"]))
        else:
            return False
    return isinstance(obj, dict) and obj.pop(steps[-1]["name"], None) is not None


def _item(items: Any, keys: Iterable[tuple[str, str]]) -> Any:
    wanted = {name: text.strip('"') for name, text in keys}
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and all(str(item.get(name)) == text for name, text in wanted.items()):
            return item
    return None
