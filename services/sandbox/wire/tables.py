"""`meta.k8s.io/v1` Tables, which kubectl prints as they are. It does no I/O: `now` is an argument."""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from services.sandbox.errors import Document
from services.sandbox.schemas.resources import Column, Version

_STEP = re.compile(
    r"""\.?([\w\-/]+(?:\\.[\w\-/]+)*) | \[(\d+|\*)\] | \['([^']*)'\]
    | \[\?\(@\.([\w.]+)\s*==\s*["']([^"']*)["']\)\]""",
    re.VERBOSE,
)
_AGE = Column("Age", "date", ".metadata.creationTimestamp")


def find(document: Any, path: str) -> list[Any]:
    """What a JSONPath of the subset that printer columns use points to: fields, indices, `[*]`, equality filters."""
    found = [document]
    position = 0
    while position < len(path) and (match := _STEP.match(path, position)):
        name, index, quoted, field, value = match.groups()
        if name or quoted is not None:
            key = quoted if quoted is not None else name.replace("\\.", ".")
            found = [item[key] for item in found if isinstance(item, dict) and key in item]
        elif index == "*":
            found = [inner for item in found if isinstance(item, list) for inner in item]
        elif index:
            found = [item[int(index)] for item in found if isinstance(item, list) and len(item) > int(index)]
        else:
            inner = [each for item in found if isinstance(item, list) for each in item]
            found = [each for each in inner if [str(hit) for hit in find(each, f".{field}")] == [value]]
        position = match.end()
    return found


def age(then: str, now: datetime) -> str:
    """The time since, as kubectl writes it: 45s, 12m, 5h30m, 3d."""
    try:
        seconds = max(0, int((now - datetime.fromisoformat(then)).total_seconds()))
    except ValueError:
        return "<unknown>"
    if seconds < 120:
        return f"{seconds}s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 180:
        return f"{minutes}m"
    return f"{hours}h" if hours < 48 else f"{days}d"


def _cell(document: Document, column: Column, now: datetime) -> Any:
    """The cell as Kubernetes has it for custom kinds; null where there is nothing to show."""
    values = [value for value in find(document, column.path) if value is not None]
    if not values:
        return None
    if column.type == "date":
        return age(str(values[0]), now)
    if column.type == "string" and isinstance(values[0], bool):
        return str(values[0]).lower()
    if len(values) == 1 and isinstance(values[0], int | float | str):
        return values[0]
    return ",".join(str(value) for value in values)


def table(
    documents: Iterable[Document],
    version: Version,
    now: datetime,
    metadata: Document,
    include: str,
    *,
    head: bool,
    custom: bool,
) -> Document:
    """A Table with a row per object. `include` is Object, Metadata or None; `head` adds the column definitions."""
    columns = version.columns or (_AGE,)
    definitions = [_definition("Name", "string", "name", 0, "Name must be unique within a namespace.")]
    types = {"date": "string"} if not custom else {}  # built-in kinds call their dates strings
    definitions += [_definition(c.name, types.get(c.type, c.type), "", c.priority, c.description) for c in columns]
    rows = []
    for document in documents:
        row: Document = {"cells": [document["metadata"]["name"], *(_cell(document, c, now) for c in columns)]}
        if include == "Object":
            row["object"] = document
        elif include != "None":
            partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
            row["object"] = {**partial, "metadata": document["metadata"]}
        rows.append(row)
    definitions = definitions if head else []
    head_fields = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
    return {**head_fields, "columnDefinitions": definitions, "rows": rows}


def _definition(name: str, kind: str, form: str, priority: int, description: str) -> Document:
    return {"name": name, "type": kind, "format": form, "description": description, "priority": priority}
