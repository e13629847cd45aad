"""The virtual workspace of an APIExport: what its consumers bound and let it see, in one of them or across all.

One serves the consumers of one shard. Workspaces are named there by the ids of their logical clusters alone.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from services.sandbox import errors
from services.sandbox.access.auth import Attributes, allowed, refused
from services.sandbox.access.users import User
from services.sandbox.errors import ApiError
from services.sandbox.kcp.consumers import BINDINGS, GROUP, READING, Consumer
from services.sandbox.kcp.exports import Exports
from services.sandbox.schemas.resources import Resource, qualified
from services.sandbox.state.clusters import Cluster, Clusters
from services.sandbox.state.store import EVERY, Key, Store
from services.sandbox.wire.paths import Path


class View(NamedTuple):
    """`cluster` has what is served there; of one workspace (whose `consumer` is none where it did not bind the export),
    or of all."""

    cluster: Cluster
    host: Cluster
    consumer: Consumer | None

    def permit(self, store: Store, user: User, name: str, wanted: Attributes) -> None:
        """Raise ApiError 403 unless the consumer lets the export of this name do this, and the user may do so to the
        export's content; 404 for what cannot be done across consumers."""
        plural = wanted.resource.partition("/")[0]
        resource = qualified(wanted.group, plural)
        across = self.cluster.name == EVERY
        if not across and not wanted.path and not (self.consumer and self.consumer.lets(resource, wanted.verb)):
            raise refused(self.host, user, wanted)
        _check_content(store, self.host, user, name, wanted)
        if across and not wanted.path and wanted.verb not in ("list", "watch"):
            raise errors.no_such_path()


def view(exports: Exports, clusters: Clusters, of: tuple[str, str], path: Path) -> View | None:
    """The view of one consumer (by id), or with EVERY of all, of the export of that name in the workspace of that id;
    none where there is no such export."""
    host = clusters.of_id(of[0])
    export = exports.find(host.name, of[1]) if host else None
    if host is None or export is None:
        return None
    key, served = export.key, exports.offered(export)

    def sees(of: Key) -> bool:
        """Also of consumers that come later, or go."""
        consumer = exports.consumers(key).get(of.cluster)
        if consumer is None or (of.resource == BINDINGS and of.name != consumer.binding):
            return False
        cluster = clusters.at(of.cluster)
        return cluster.shard == path.shard and consumer.shows(of.resource, cluster)

    if path.cluster == EVERY:
        return View(Cluster(EVERY, _table(served, {}), sees=sees), host, None)
    found = clusters.of_id(path.cluster)
    consumer = exports.consumers(key).get(found.name) if found else None
    if found is None or consumer is None or found.shard != path.shard:
        return View(Cluster("", _table(served, {})), host, None)
    if not found.available:
        raise errors.unavailable(f"cluster {found.name}")
    known = {**found.builtin, **found.custom}
    return View(replace(found, builtin=_table(served, known), custom={}, sees=sees), host, consumer)


def missing(store: Store, clusters: Clusters, of: tuple[str, str], user: User, wanted: Attributes) -> ApiError:
    """What whoever asks of an export that is not there is told: 403, or as kcp does 500, for its authorizer looks for
    the export once it knows that it may be asked for. Who names the export's workspace by a path comes that far."""
    host = clusters.find(of[0])
    if host is None:
        return refused(Cluster("", {}), user, wanted)
    try:
        _check_content(store, host, user, of[1], wanted)
    except ApiError as error:
        return error
    said = f'Internal error occurred: API export not found: apiexport.apis.kcp.io "{of[1]}" not found'
    return ApiError(500, "InternalError", said[:500])


def _check_content(store: Store, host: Cluster, user: User, name: str, wanted: Attributes) -> None:
    if not allowed(store, host, user, Attributes(wanted.verb, GROUP, "apiexports/content", name=name)):
        raise refused(host, user, wanted)


def _table(served: list[Resource], known: Mapping[tuple[str, str], Resource]) -> Mapping[tuple[str, str], Resource]:
    """What is served by group and plural, as it is known where it is stored; without scale, which kcp has not there."""
    table = {}
    for each in served:
        where = each.group, each.plural
        found = known.get(where, each)
        versions = {name: replace(version, scale=None) for name, version in found.versions.items()}
        table[where] = replace(found, versions=versions, verbs=READING if found.id == BINDINGS else found.verbs)
    return MappingProxyType(table)
