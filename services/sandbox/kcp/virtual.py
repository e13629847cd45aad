"""The virtual workspace of an APIExport: what its consumers bound and let it see, in one of them or across all."""

from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from services.sandbox import errors
from services.sandbox.access.auth import Attributes, allowed
from services.sandbox.access.users import User
from services.sandbox.kcp.exports import BINDINGS, GROUP, Exports
from services.sandbox.schemas.resources import Resource
from services.sandbox.state.clusters import WORKSPACE_RESOURCES, Cluster, Clusters
from services.sandbox.state.store import EVERY, Entry, Key, Store


class View(NamedTuple):
    """`cluster` is what writes go to and discovery shows, `reads` is the same as far as the export may see it."""

    cluster: Cluster
    reads: Cluster
    export: Entry
    exports: Exports

    def permit(self, store: Store, host: Cluster, user: User, wanted: Attributes) -> None:
        """Raise ApiError 403 unless the user may use the export's content, and the consumer lets the export do this."""
        name, path = self.export.key.name, self.export.key.cluster
        if not allowed(store, host, user, Attributes(wanted.verb, GROUP, "apiexports/content", name=name)):
            raise errors.forbidden(f'forbidden: User "{user.name}" cannot {wanted.verb} the content of {path}:{name}')
        if wanted.path or self.cluster.name == EVERY:
            return
        plural = wanted.resource.partition("/")[0]
        resource = f"{plural}.{wanted.group}".rstrip(".")
        verbs = self.exports.consumers(self.export.key)[self.cluster.name].verbs(resource)
        if not verbs & {"*", wanted.verb}:
            why = f"{self.cluster.name} has not let {path}:{name} {wanted.verb} {resource}"
            raise errors.forbidden(f"{resource} is forbidden: {why}", resource, wanted.name)


def view(exports: Exports, clusters: Clusters, export: Entry, name: str) -> View | None:
    """The view of one consumer (by path or id), or with EVERY of all; none if there is no such consumer."""
    consumers = exports.consumers(export.key)

    def sees(key: Key) -> bool:
        consumer = consumers.get(key.cluster)
        if consumer is None or (key.resource == BINDINGS and key.name != consumer.binding):
            return False
        return bool(consumer.verbs(key.resource) & {"*", "list", "watch"})

    if name != EVERY:
        found = clusters.find(name)
        return View(found, replace(found, sees=sees), export, exports) if found and found.name in consumers else None
    served = {each.id: each for each in exports.offered(export)}
    for cluster, consumer in consumers.items():
        for claimed in (BINDINGS, *consumer.claims):
            if claimed not in served and (resource := _served(clusters.find(cluster), claimed)):
                served[claimed] = resource
    table = {(each.group, each.plural): replace(each, verbs=("list", "watch")) for each in served.values()}
    everything = Cluster(EVERY, MappingProxyType(table), sees=sees)
    return View(everything, everything, export, exports)


def _served(cluster: Cluster | None, wanted: str) -> Resource | None:
    plural, _, group = wanted.partition(".")
    return cluster.resource(group, plural) if cluster else WORKSPACE_RESOURCES.get((group, plural))
