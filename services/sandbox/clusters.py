"""Logical clusters: which resources each serves, and the tree of workspaces."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from services.sandbox.data import KINDS
from services.sandbox.resources import Resource, from_definition
from services.sandbox.store import Sees

Table = Mapping[tuple[str, str], Resource]
ROOT = "root"
TARGET_PREFIX = "target:"


def _table(*parts: str) -> Table:
    found = [from_definition(spec, custom=False) for part in parts for spec in KINDS[part]]
    return MappingProxyType({(resource.group, resource.plural): resource for resource in found})


WORKSPACE_RESOURCES = _table("core", "tenancy")
TARGET_RESOURCES = _table("core", "workloads")


def target_resources(lacks: Iterable[str]) -> Table:
    """What a target serves that lacks some API groups, group versions, or `plural.group` resources."""
    missing = frozenset(lacks)
    return {
        where: resource
        for where, resource in TARGET_RESOURCES.items()
        if not missing & {resource.group or "core", resource.api_version(resource.storage), resource.id}
    }


@dataclass(slots=True)
class Cluster:
    """One logical cluster, or a view of one or of all. `custom` grows with its CustomResourceDefinitions and
    APIBindings; the built-in table is shared."""

    name: str
    builtin: Table
    is_target: bool = False
    available: bool = True
    custom: dict[tuple[str, str], Resource] = field(default_factory=dict)
    bound: dict[tuple[str, str], str] = field(default_factory=dict)  # which of `custom` came by which APIBinding
    terminating: set[str] = field(default_factory=set)  # namespaces
    rules: object | None = None  # RBAC compiled by `auth`, none when it has to be read again
    sees: Sees | None = None  # which objects a view shows; none for a cluster itself, which shows all

    id: str = field(init=False)  # the opaque name that kcp gives a logical cluster, beside its path

    def __post_init__(self) -> None:
        self.id = hashlib.sha256(self.name.encode()).hexdigest()[:16] if self.name != ROOT else ROOT

    def resource(self, group: str, plural: str) -> Resource | None:
        return self.builtin.get((group, plural)) or self.custom.get((group, plural))

    def resources(self) -> Iterator[Resource]:
        yield from self.builtin.values()
        yield from self.custom.values()

    def by_kind(self, api_version: str, kind: str) -> Resource | None:
        """The resource of an object's kind, whichever of its versions is named."""
        group, _, version = api_version.rpartition("/")
        for resource in self.resources():
            if resource.kind == kind and resource.group == group and version in resource.versions:
                return resource
        return None


class Clusters:
    """All logical clusters, by name (a workspace path, or `target:<name>`) and by id."""

    def __init__(self) -> None:
        self._by_name: dict[str, Cluster] = {}
        self._by_id: dict[str, Cluster] = {}

    def __iter__(self) -> Iterator[Cluster]:
        return iter(tuple(self._by_name.values()))

    def find(self, name: str) -> Cluster | None:
        return self._by_name.get(name) or self._by_id.get(name)

    def add(self, cluster: Cluster) -> None:
        self._by_name[cluster.name] = cluster
        self._by_id[cluster.id] = cluster

    def remove(self, cluster: Cluster) -> None:
        del self._by_name[cluster.name]
        del self._by_id[cluster.id]

    def below(self, name: str) -> list[Cluster]:
        """A workspace's descendants, the deepest first."""
        found = [cluster for cluster in self if cluster.name.startswith(f"{name}:")]
        return sorted(found, key=lambda cluster: -cluster.name.count(":"))
