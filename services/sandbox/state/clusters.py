"""Logical clusters: which resources each serves, and the tree of workspaces."""

import secrets
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from services.sandbox import errors
from services.sandbox.errors import ApiError, Cause
from services.sandbox.schemas.kinds import KINDS
from services.sandbox.schemas.resources import Resource, Version, from_definition
from services.sandbox.state.store import Key, Sees, Store

Table = Mapping[tuple[str, str], Resource]
ROOT = "root"
TARGET_PREFIX = "target:"
SHARD_PREFIX = "shard:"


def _table(*parts: str) -> Table:
    found = [from_definition(spec, custom=False) for part in parts for spec in KINDS[part]]
    return MappingProxyType({(resource.group, resource.plural): resource for resource in found})


WORKSPACE_RESOURCES = _table("core", "tenancy")
TARGET_RESOURCES = _table("core", "workloads")


def built_in(resource: Resource) -> Version | None:
    """The version of a kind of Kubernetes, as it is known without its definition; None for any other kind."""
    found = TARGET_RESOURCES.get((resource.group, resource.plural))
    if found is None or found.kind != resource.kind:
        return None
    return found.versions[found.storage]


def target_resources(lacks: Iterable[str]) -> Table:
    """What a target serves that lacks some API groups, group versions, or `plural.group` resources."""
    missing = frozenset(lacks)
    return {
        where: resource
        for where, resource in TARGET_RESOURCES.items()
        if not missing & {resource.group or "core", resource.api_version(resource.storage), resource.id}
    }


class Origin(NamedTuple):
    """By which APIBinding a resource is served, and the identity of the export that it is of."""

    binding: str
    identity: str


@dataclass(slots=True)
class Cluster:
    """One logical cluster, or a view of one or of all. `custom` grows with its CustomResourceDefinitions and
    APIBindings; the built-in table is shared."""

    name: str
    builtin: Table
    is_target: bool = False
    available: bool = True
    custom: dict[tuple[str, str], Resource] = field(default_factory=dict)
    bound: dict[tuple[str, str], Origin] = field(default_factory=dict)  # which of `custom` came by which APIBinding
    # By whose RBAC what came by an APIBinding is bounded: that of the export's workspace, where its policy says so.
    bounds: dict[tuple[str, str], "Cluster"] = field(default_factory=dict)
    terminating: set[str] = field(default_factory=set)  # namespaces
    rules: object | None = None  # RBAC compiled by `auth`, none when it has to be read again
    sees: Sees | None = None  # which objects a view shows; none for a cluster itself, which shows all
    shard: str = ROOT
    # The opaque name that kcp gives a logical cluster, beside its path: one that is made again has another one.
    id: str = field(default_factory=lambda: secrets.token_hex(8))

    def resource(self, group: str, plural: str) -> Resource | None:
        return self.builtin.get((group, plural)) or self.custom.get((group, plural))

    def resources(self) -> Iterator[Resource]:
        yield from self.builtin.values()
        yield from self.custom.values()

    def address(self, group: str, plural: str, version: str = "", namespace: str = "", name: str = "") -> "Address":
        """Where a resource is at a version, by default the one that is stored. Raises ApiError 404."""
        resource = self.resource(group, plural)
        found = resource.versions.get(version or resource.storage) if resource else None
        if resource is None or found is None:
            raise errors.no_such_path()
        return Address(self, resource, found, namespace, name)

    def withdraw(self, store: Store, group: str, plural: str) -> None:
        """Serve a custom resource no more: its objects go, and its watches end."""
        resource = self.custom[group, plural]
        for entry in store.entries(self.name, resource.id):
            store.remove(entry.key)
        del self.custom[group, plural]
        self.bound.pop((group, plural), None)
        self.bounds.pop((group, plural), None)
        store.close_watches(self.name, resource.id)

    def defined(self, definition: str) -> Resource | None:
        """What the definition of this name serves: nothing where it was refused, or an APIBinding serves the kind."""
        found = (each for where, each in self.custom.items() if where not in self.bound)
        return next((each for each in found if each.definition == definition), None)

    def by_kind(self, api_version: str, kind: str) -> Resource | None:
        """The resource of an object's kind, whichever of its versions is named."""
        group, _, version = api_version.rpartition("/")
        for resource in self.resources():
            if resource.kind == kind and resource.group == group and version in resource.versions:
                return resource
        return None


class Address(NamedTuple):
    """A resource of a cluster at one version, maybe a namespace, maybe one object's name."""

    cluster: Cluster
    resource: Resource
    version: Version
    namespace: str = ""
    name: str = ""

    @property
    def key(self) -> Key:
        return Key(self.cluster.name, self.resource.id, self.namespace, self.name)

    @property
    def api_version(self) -> str:
        return self.resource.api_version(self.version.name)

    def invalid(self, *causes: Cause) -> ApiError:
        """422 for the object here."""
        return errors.invalid(self.resource.kind, self.resource.group, self.name, causes)

    def forbidden(self, why: str) -> ApiError:
        """403 for the object here."""
        return errors.forbidden(f'{self.resource.id} "{self.name}" is forbidden: {why}', self.resource.id, self.name)

    def conflict(self, why: str = "") -> ApiError:
        """409 for the object here."""
        return errors.conflict(self.resource.id, self.name, why)


class Clusters:
    """All logical clusters, by name (a workspace path, or `target:<name>`) and by id, and the shards that they are on.

    There is one server whatever the shards: they differ in whose consumers the endpoint of an export shows.
    """

    def __init__(self, shards: Sequence[str] = ()) -> None:
        self._by_name: dict[str, Cluster] = {}
        self._by_id: dict[str, Cluster] = {}
        self.shards = tuple(dict.fromkeys((ROOT, *shards)))
        self.lost: frozenset[str] = frozenset()  # shards that do not answer

    def __iter__(self) -> Iterator[Cluster]:
        return iter(tuple(self._by_name.values()))

    def find(self, name: str) -> Cluster | None:
        return self._by_name.get(name) or self._by_id.get(name)

    def at(self, name: str) -> Cluster:
        """The cluster of a name that is known to be there."""
        return self._by_name[name]

    def of_id(self, id: str) -> Cluster | None:
        return self._by_id.get(id)

    def shard_for(self, path: str, wanted: str) -> str:
        """The shard that a new workspace goes to: the one that is wanted, if there is such a one, or any."""
        return wanted if wanted in self.shards else self.shards[zlib.crc32(path.encode()) % len(self.shards)]

    def home(self, key: Key) -> Cluster:
        """The cluster of an object."""
        return self._by_name[key.cluster]

    def add(self, cluster: Cluster) -> None:
        self._by_name[cluster.name] = cluster
        self._by_id[cluster.id] = cluster

    def remove(self, name: str) -> None:
        del self._by_id[self._by_name.pop(name).id]
