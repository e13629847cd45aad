"""What a resource is: names, scope, versions, schema. Kinds are data: only code that acts on a kind knows its name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from services.sandbox.errors import Document
from services.sandbox.schemas.rules import Rules, compile_rules
from services.sandbox.schemas.schema import Schema, compile_schema

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


def qualified(group: str, plural: str) -> str:
    """How a resource is named in one word, as in `deployments.apps`."""
    return f"{plural}.{group}" if group else plural


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`: `path` is a JSONPath without braces; `priority` above 0 shows with `-o wide`."""

    name: str
    type: str
    path: str
    priority: int = 0
    description: str = ""


@dataclass(frozen=True, slots=True)
class Version:
    """One served version: its schema, columns and subresources. `scale` holds the paths of spec and status replicas."""

    name: str
    schema: Schema
    rules: Rules | None = None
    columns: tuple[Column, ...] = ()
    status: bool = False
    scale: tuple[str, str, str] | None = None
    selectable: tuple[str, ...] = ()  # what field selectors may name beside metadata.name and metadata.namespace


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind as one cluster serves it; `versions` are in order of preference and the first that stores wins."""

    group: str
    plural: str
    kind: str
    versions: Mapping[str, Version]
    storage: str
    namespaced: bool = True
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    list_kind: str = ""
    custom: bool = False
    terminating: bool = False  # its definition waits for its objects to go; none is created any more
    since: int = 0  # what was stored up to this revision may lack defaults of the schemas
    id: str = field(init=False)  # plural.group, under which it is stored and named in errors

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", qualified(self.group, self.plural))

    def api_version(self, version: str) -> str:
        return f"{self.group}/{version}" if self.group else version

    @property
    def definition(self) -> str:
        """The name of the CustomResourceDefinition of such a kind; `core` is how kcp writes the core group."""
        return f"{self.plural}.{self.group or 'core'}"

    @property
    def list_name(self) -> str:
        return self.list_kind or f"{self.kind}List"


def _version(version: Document) -> Version:
    subresources = version.get("subresources") or {}
    scale = subresources.get("scale")
    openapi = (version.get("schema") or {}).get("openAPIV3Schema") or {"x-kubernetes-preserve-unknown-fields": True}
    encoded = msgspec.json.encode(openapi)
    return Version(
        name=version["name"],
        schema=compile_schema(encoded),
        rules=compile_rules(encoded),
        columns=tuple(
            Column(c["name"], c["type"], c["jsonPath"], c.get("priority", 0), c.get("description", ""))
            for c in version.get("additionalPrinterColumns") or ()
        ),
        status="status" in subresources,
        selectable=tuple(field["jsonPath"].lstrip(".") for field in version.get("selectableFields") or ()),
        scale=(scale["specReplicasPath"], scale["statusReplicasPath"], scale.get("labelSelectorPath", ""))
        if scale
        else None,
    )


def version_priority(name: str) -> tuple[Any, ...]:
    """Sort key: GA before beta before alpha, then higher numbers first, then anything else by name."""
    rest = name.removeprefix("v")
    for rank, word in enumerate(("beta", "alpha"), start=1):
        major, found, minor = rest.partition(word)
        if found and major.isdigit() and (minor.isdigit() or not minor):
            return (rank, -int(major), -int(minor or 0), name)
    return (0, -int(rest), 0, name) if rest.isdigit() and name != rest else (3, 0, 0, name)


def from_definition(spec: Document, *, custom: bool = True) -> Resource:
    """The resource that a CustomResourceDefinition's `spec` describes; those that are built in are described so too.
    Raises KeyError, TypeError or ValueError."""
    served = [version for version in spec["versions"] if version["served"]]
    versions = sorted((_version(version) for version in served), key=lambda version: version_priority(version.name))
    names = spec["names"]
    return Resource(
        group=spec["group"],
        plural=names["plural"],
        kind=names["kind"],
        versions={version.name: version for version in versions},
        storage=next(version["name"] for version in spec["versions"] if version["storage"]),
        namespaced=spec["scope"] == "Namespaced",
        singular=names.get("singular") or names["kind"].lower(),
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        list_kind=names.get("listKind") or "",
        verbs=ALL_VERBS if custom or not names["kind"].endswith("Review") else ("create",),  # reviews are only answered
        custom=custom,
    )
