"""All that the sandbox is made of, and what it can be told in one process; who asks by requests, asks `Sandbox`."""

import secrets
import time
from collections.abc import Callable, Sequence

from services.sandbox import errors
from services.sandbox.access import auth, users
from services.sandbox.access.auth import Tokens
from services.sandbox.access.users import User
from services.sandbox.errors import Document
from services.sandbox.kcp.exports import Exports
from services.sandbox.objects import writes
from services.sandbox.objects.accounts import AccountTokens
from services.sandbox.objects.admission import admit
from services.sandbox.objects.deletion import Deleter
from services.sandbox.objects.effects import Effects
from services.sandbox.objects.registry import Registry, Write
from services.sandbox.state.clusters import (
    ROOT,
    SHARD_PREFIX,
    TARGET_PREFIX,
    WORKSPACE_RESOURCES,
    Address,
    Cluster,
    Clusters,
    target_resources,
)
from services.sandbox.state.store import EVERY, Store
from services.sandbox.wire.faults import Faults
from services.sandbox.wire.tally import Tally

SYSTEM = User("system:kube-controller-manager", (users.ADMINS,))


class ControlPlane:
    """Workspaces and target clusters, in memory. `url` is where clients reach it, without a trailing slash. Workspaces
    are spread over `shards`, beside that of the root."""

    def __init__(self, url: str = "http://127.0.0.1:6443", shards: Sequence[str] = ()) -> None:
        self.url = url
        # Versions go on from the clock, so that those of an earlier run are recognised as expired.
        self.store = Store(first_revision=time.time_ns() // 1000)
        self.clusters = Clusters(shards)
        self.tokens = Tokens()
        self.faults = Faults()
        self.tally = Tally()
        self._effects = Effects(self.store, self.clusters, url)
        self._accounts = AccountTokens(self.store, self.clusters, self.tokens)
        self.exports = Exports(self.store, self.clusters, url)
        self.deleter = Deleter(self.store)
        self.registry = Registry(self.store, self.deleter, self._admit)
        self.on_target: Callable[[Cluster], None] | None = None  # told of each target that is added
        self._effects.furnish(Cluster(ROOT, WORKSPACE_RESOURCES, id=ROOT), writes.now())

    def _admit(self, at: Address, new: Document, old: Document | None, write: Write) -> None:
        admit(at, new, old, write, self.store, guarded=self.exports.guards(at))
        self.exports.admit(at, new, old, write)
        if at.resource.group == auth.RBAC_GROUP and new != old:
            where = at.resource.plural, at.namespace
            if rule := auth.exceeding(self.store, at.cluster, write.user, where, new):
                who = f'user "{write.user.name}" (groups={list(write.user.groups)})'
                raise at.forbidden(f"{who} is attempting to grant RBAC permissions not currently held: {rule}"[:1000])

    def add_user(self, name: str, groups: tuple[str, ...] = (), *, token: str = "", cluster: str = "") -> str:
        """A bearer token for a user, known in all workspaces, or in the one target cluster that is named."""
        token = token or secrets.token_urlsafe(24)
        self.tokens.add(token, User(name, groups), cluster)
        return token

    def add_service_account(self, cluster: str, namespace: str, name: str) -> str:
        """A token of a workspace's ServiceAccount, known in all workspaces, as in kcp; it says of which it is."""
        home = self.clusters.find(cluster)
        if home is None:
            raise errors.not_found("clusters", cluster)
        token = secrets.token_urlsafe(24)
        full, groups = f"{auth.SERVICE_ACCOUNT}{namespace}:{name}", (f"{auth.SERVICE_ACCOUNTS}:{namespace}",)
        extra = ((users.CLUSTER_NAME, (home.id,)),)
        self.tokens.add(token, User(full, (auth.SERVICE_ACCOUNTS, *groups), uid=home.id + name, extra=extra))
        return token

    def add_target(self, name: str, *, lacks: tuple[str, ...] = (), token: str = "") -> tuple[Cluster, str]:
        """A target cluster and its administrator's token. Raises ApiError 409 if the name is taken."""
        full = f"{TARGET_PREFIX}{name}"
        if self.clusters.find(full):
            raise errors.already_exists("clusters", name)
        cluster = Cluster(full, target_resources(lacks), is_target=True)
        self._effects.furnish(cluster, writes.now())
        if self.on_target:
            self.on_target(cluster)
        return cluster, self.add_user("admin", (users.ADMINS,), token=token, cluster=full)

    def set_available(self, cluster: str, available: bool) -> None:
        """Make a cluster, or with all its workspaces `shard:<name>`, answer 503 to everything and drop its watches, or
        bring it back. Raises ApiError 404."""
        shard = cluster.removeprefix(SHARD_PREFIX)
        one = self.clusters.find(cluster) or self.clusters.find(f"{TARGET_PREFIX}{cluster}")
        of_shard = cluster.startswith(SHARD_PREFIX) and shard in self.clusters.shards
        if one is None and not of_shard:
            raise errors.not_found("clusters", cluster)
        for found in [one] if one else [each for each in self.clusters if each.shard == shard and not each.is_target]:
            found.available = available
            if not available:
                self.store.close_watches(found.name)
        if of_shard:
            self.clusters.lost = self.clusters.lost - {shard} if available else self.clusters.lost | {shard}
            if not available:  # of all endpoints: a watch may end at any time
                self.store.close_watches(EVERY)

    def address(self, cluster: str, group_version: str, plural: str, namespace: str = "", name: str = "") -> Address:
        """Where an object is, for callers in this process. Raises ApiError 404."""
        group, _, version = group_version.rpartition("/")
        found = self.clusters.find(cluster)
        if found is None:
            raise errors.not_found("clusters", cluster)
        return found.address(group, plural, version, namespace, name)

    def create(self, cluster: str, group_version: str, plural: str, document: Document) -> None:
        """Create an object on the control plane's own behalf, with its status. Raises ApiError."""
        namespace = document["metadata"].get("namespace", "")
        at = self.address(cluster, group_version, plural, namespace)
        entry = self.registry.create(at, dict(document), self.system_write())
        if at.version.status and "status" in document:
            status = {**entry.document(), "status": document["status"]}
            self.registry.update(at._replace(name=entry.key.name), status, self.system_write("status"))

    def system_write(self, subresource: str = "") -> Write:
        """The options with which the control plane itself writes."""
        return Write(user=SYSTEM, now=writes.now(), manager="kube-controller-manager", subresource=subresource)

    def end_watches(self) -> None:
        """End every watch, as a server does that stops."""
        for cluster in self.clusters:
            self.store.close_watches(cluster.name)
