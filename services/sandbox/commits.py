"""The one way into the store: writes an object and lets the kinds that mean something to the server take effect."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from services.sandbox.clusters import Cluster
from services.sandbox.errors import Document
from services.sandbox.resources import Resource, Version
from services.sandbox.store import Entry, Event, Key, Store

Effect = Callable[[Cluster, Event], None]


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


class Commits:
    """`effects` are called after each change of an object of their resource."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.effects: Mapping[str, Effect] = {}

    def put(self, cluster: Cluster, key: Key, document: Document) -> Entry:
        previous = self.store.get(key)
        entry = self.store.put(key, document)
        if effect := self.effects.get(key.resource):
            effect(cluster, Event("MODIFIED" if previous else "ADDED", entry, previous))
        return entry

    def remove(self, cluster: Cluster, key: Key, last: Document | None = None) -> Entry:
        previous = self.store.get(key)
        entry = self.store.remove(key, last)
        if effect := self.effects.get(key.resource):
            effect(cluster, Event("DELETED", entry, previous))
        return entry
