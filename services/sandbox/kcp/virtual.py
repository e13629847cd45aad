"""The virtual workspace of an APIExport: what its consumers bound and let it see, in one of them or across all.

One serves the consumers of one shard. Workspaces are named there by the ids of their logical clusters alone.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from services.sandbox import errors
from services.sandbox.access.auth import Attributes, allowed
from services.sandbox.access.users import User
from services.sandbox.errors import ApiError
from services.sandbox.kcp.consumers import BINDINGS, GROUP, READING, Consumer
from services.sandbox.kcp.exports import Exports
from services.sandbox.schemas.resources import Resource
from services.sandbox.state.clusters import Cluster, Clusters
from services.sandbox.state.store import EVERY, Entry, Key, Store
from services.sandbox.wire.paths import Path


class View(NamedTuple):
    """`cluster` has what is served there; of one workspace (whose `consumer` is none where it did not bind the export),
    or of all."""

    cluster: Cluster
    host: Cluster
    export: Entry
    consumer: Consumer | None

    def permit(self, store: Store, user: User, wanted: Attributes) -> None:
        """Raise ApiError 403 unless the consumer lets the export do this, and the user may use the export's content."""
        name = self.export.key.name
        plural = wanted.resource.partition("/")[0]
        resource = f"{plural}.{wanted.group}".rstrip(".")
        if self.cluster.name != EVERY and not wanted.path:
            if self.consumer is None:
                raise _refused(user, wanted, "could not find suitable APIBinding in target logical cluster")
            if not self.consumer.lets(resource, wanted.verb):
                raise _refused(user, wanted, "failed to find suitable reason to allow access in APIBinding")
        if not allowed(store, self.host, user, Attributes(wanted.verb, GROUP, "apiexports/content", name=name)):
            why = f'API export: "{name}", workspace: "{self.host.id}" RBAC decision: access denied'
            raise _refused(user, wanted, why)


def view(exports: Exports, clusters: Clusters, of: tuple[str, str], path: Path) -> View:
    """The view of one consumer (by id), or with EVERY of all, of the export of that name in the workspace of that id.

    Raises ApiError 500 where there is no such export, as kcp does: its authorizer looks for it.
    """
    host = clusters.of_id(of[0])
    export = exports.find(host.name, of[1]) if host else None
    if host is None or export is None:
        missing = f'apiexport.apis.kcp.io "{of[1]}" not found'
        raise ApiError(500, "InternalError", f"Internal error occurred: API export not found: {missing}"[:500])
    key, served = export.key, exports.offered(export)

    def sees(of: Key) -> bool:
        """Also of consumers that come later, or go."""
        consumer = exports.consumers(key).get(of.cluster)
        if consumer is None or (of.resource == BINDINGS and of.name != consumer.binding):
            return False
        cluster = clusters.at(of.cluster)
        return cluster.shard == path.shard and consumer.shows(of.resource, cluster)

    if path.cluster == EVERY:
        across = {where: replace(each, verbs=("list", "watch")) for where, each in _table(served, {}).items()}
        return View(Cluster(EVERY, MappingProxyType(across), sees=sees), host, export, None)
    found = clusters.of_id(path.cluster)
    consumer = exports.consumers(key).get(found.name) if found else None
    if found is None or consumer is None or found.shard != path.shard:
        return View(Cluster("", _table(served, {})), host, export, None)
    if not found.available:
        raise errors.unavailable(f"cluster {found.name}")
    known = {**found.builtin, **found.custom}
    return View(replace(found, builtin=_table(served, known), custom={}, sees=sees), host, export, consumer)


def _table(served: list[Resource], known: Mapping[tuple[str, str], Resource]) -> Mapping[tuple[str, str], Resource]:
    """What is served by group and plural, as it is known where it is stored; without scale, which kcp has not there."""
    table = {}
    for each in served:
        where = each.group, each.plural
        found = known.get(where, each)
        versions = {name: replace(version, scale=None) for name, version in found.versions.items()}
        table[where] = replace(found, versions=versions, verbs=READING if found.id == BINDINGS else found.verbs)
    return MappingProxyType(table)


def _refused(user: User, wanted: Attributes, why: str) -> ApiError:
    if wanted.path:
        return errors.forbidden(f'forbidden: User "{user.name}" cannot {wanted.verb} path "{wanted.path[:200]}": {why}')
    plural = f"{wanted.resource.partition('/')[0]}.{wanted.group}".rstrip(".")
    where = f' in the namespace "{wanted.namespace}"' if wanted.namespace else " at the cluster scope"
    quoted = f'"{wanted.name}" ' if wanted.name else ""
    said = (
        f'{plural} {quoted}is forbidden: User "{user.name}" cannot {wanted.verb} resource "{wanted.resource}" '
        f'in API group "{wanted.group}"{where}: {why}'
    )
    return errors.forbidden(said, plural, wanted.name)
