"""What is wrong with a CustomResourceDefinition: the checks that authors of definitions run into. Pure."""

import copy
import re
from collections.abc import Iterator, Sequence
from typing import Any

from services.sandbox.errors import Cause, Document
from services.sandbox.schemas.schema import Schema

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_TYPES = ("object", "array", "string", "integer", "number", "boolean")


def definition_problems(spec: Document, stored: Sequence[str] = ()) -> list[Cause]:
    """What keeps a definition from being served; `stored`: the versions that objects may be stored in."""
    found = [*_problems(spec), *_dropped(spec, stored)]
    for number, version in enumerate(_list(spec.get("versions"))):
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        here = f"spec.versions[{number}].schema.openAPIV3Schema"
        if not isinstance(schema, dict):
            found.append(Cause.required(here, "schemas are required"))
        else:
            found += _schema_problems(schema, here)
    return found


def _problems(spec: Document) -> Iterator[Cause]:
    versions, plural = _list(spec.get("versions")), (spec.get("names") or {}).get("plural", "")
    if not versions:
        yield Cause.required("spec.versions", "must have at least one version")
    elif sum(version.get("storage") is True for version in versions) != 1:
        yield Cause.invalid("spec.versions", "must have exactly one version marked as storage")
    if spec.get("scope") not in ("Cluster", "Namespaced"):
        supported = '"Cluster", "Namespaced"'
        yield Cause.unsupported("spec.scope", f"supported values: {supported}")
    if not _DNS_LABEL.fullmatch(str(plural)):
        yield Cause.invalid("spec.names.plural", f'"{plural}": must be a DNS-1035 label')


def _dropped(spec: Document, stored: Sequence[str]) -> Iterator[Cause]:
    versions = {version.get("name") for version in _list(spec.get("versions"))}
    for number, name in enumerate(stored):
        if name not in versions:
            yield Cause.invalid(
                f"status.storedVersions[{number}]", f'"{name}": missing from spec.versions, and may be stored still'
            )


def _list(value: Any) -> list[Document]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _schema_problems(schema: Document, path: str) -> Iterator[Cause]:
    """Where a schema is not structural, or contradicts itself."""
    kind, open_to_all = schema.get("type"), schema.get("x-kubernetes-preserve-unknown-fields")
    if kind is None and not schema.get("x-kubernetes-int-or-string") and not open_to_all:
        yield Cause.required(f"{path}.type", "must not be empty for specified object fields")
    elif kind is not None and kind not in _TYPES:
        supported = ", ".join(_TYPES)
        yield Cause.unsupported(f"{path}.type", f'"{kind}": supported values: {supported}')
        return
    items = schema.get("items")
    if kind == "array" and not isinstance(items, dict):
        yield Cause.required(f"{path}.items", "must be specified")
        return
    for key in schema.get("x-kubernetes-list-map-keys") or ():
        if key not in ((items or {}).get("properties") or {}) and not (items or {}).get(
            "x-kubernetes-preserve-unknown-fields"
        ):
            yield Cause.invalid(f"{path}.x-kubernetes-list-map-keys", f'"{key}": no such field')
    if "default" in schema and schema["default"] is not None:
        wrapped = Schema({"type": "object", "properties": {"default": {**schema, "default": None}}})
        for cause in wrapped.conform({"default": copy.deepcopy(schema["default"])})[1]:
            yield cause._replace(field=f"{path}.{cause.field}")
    for name, field in (schema.get("properties") or {}).items():
        if isinstance(field, dict) and name not in ("apiVersion", "kind", "metadata"):
            yield from _schema_problems(field, f"{path}.properties[{name}]")
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), dict):
            yield from _schema_problems(schema[word], f"{path}.{word}")
