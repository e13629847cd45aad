"""The control plane itself: `Sandbox.handle` answers any request, without knowing how it came."""

import logging
import secrets
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from services.sandbox import errors
from services.sandbox.access import auth, reviews
from services.sandbox.access.auth import Attributes, Tokens, User
from services.sandbox.errors import ApiError, Document
from services.sandbox.kcp import virtual
from services.sandbox.kcp.exports import Exports
from services.sandbox.objects import patch, reads, writes
from services.sandbox.objects.deletion import Deleter
from services.sandbox.objects.effects import Effects, admit
from services.sandbox.objects.registry import Registry, Write
from services.sandbox.state.clusters import (
    ROOT,
    TARGET_PREFIX,
    WORKSPACE_RESOURCES,
    Address,
    Cluster,
    Clusters,
    target_resources,
)
from services.sandbox.state.store import Store
from services.sandbox.wire import discovery, paths
from services.sandbox.wire.faults import Call, Faults
from services.sandbox.wire.http import Request, Response, answer, check_accept, parse_object, refusal
from services.sandbox.wire.paths import Named, Path
from services.sandbox.world import control

logger = logging.getLogger(__name__)

_HEALTH = frozenset({"healthz", "livez", "readyz"})
_READS = {"get": reads.get, "list": reads.list_, "watch": reads.watch}
SYSTEM = User("system:kube-controller-manager", (auth.ADMINS,))


class Asked(NamedTuple):
    """Who asks what of which cluster; reads are served from `reads`, and `permit` refuses by raising ApiError."""

    request: Request
    path: Path
    user: User
    cluster: Cluster
    reads: Cluster
    permit: Callable[[Attributes], None]


class Sandbox:
    """Workspaces and target clusters, in memory. `url` is where clients reach it, without a trailing slash."""

    def __init__(self, url: str = "http://127.0.0.1:6443") -> None:
        self.url = url
        # Versions go on from the clock, so that those of an earlier run are recognised as expired.
        self.store = Store(first_revision=time.time_ns() // 1000)
        self.clusters = Clusters()
        self.tokens = Tokens()
        self.faults = Faults()
        self._effects = Effects(self.store, self.clusters, url)
        self.exports = Exports(self.store, self.clusters, url)
        self.deleter = Deleter(self.store)
        self.registry = Registry(self.store, self.deleter, self._admit)
        self.on_target: Callable[[Cluster], None] | None = None  # told of each target that is added
        self._effects.furnish(Cluster(ROOT, WORKSPACE_RESOURCES), writes.now())

    def _admit(self, at: Address, new: Document, old: Document | None, write: Write) -> None:
        admit(at, new, old, write)
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

    def add_target(self, name: str, *, lacks: tuple[str, ...] = (), token: str = "") -> tuple[Cluster, str]:
        """A target cluster and its administrator's token. Raises ApiError 409 if the name is taken."""
        full = f"{TARGET_PREFIX}{name}"
        if self.clusters.find(full):
            raise errors.already_exists("clusters", name)
        cluster = Cluster(full, target_resources(lacks), is_target=True)
        self._effects.furnish(cluster, writes.now())
        if self.on_target:
            self.on_target(cluster)
        return cluster, self.add_user("admin", (auth.ADMINS,), token=token, cluster=full)

    def set_available(self, cluster: str, available: bool) -> None:
        """Make a cluster answer 503 to everything and drop its watches, or bring it back. Raises ApiError 404."""
        found = self.clusters.find(cluster) or self.clusters.find(f"{TARGET_PREFIX}{cluster}")
        if found is None:
            raise errors.not_found("clusters", cluster)
        found.available = available
        if not available:
            self.store.close_watches(found.name)

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

    async def handle(self, request: Request) -> Response:
        """Answer one request; every failure is a Status."""
        path = paths.parse(request.path)
        try:
            if path.parts[:1] == ("sandbox",):
                user = self._authenticated(request, None)
                return control.route(self, user, request, path.parts[1:])
            call = self._call(request, path)
            await self.faults.before(call)
            return self.faults.after(call, self._route(request, path))
        except ApiError as error:
            return refusal(error)
        except RecursionError:
            return refusal(errors.bad_request("the object is nested too deeply"))
        except Exception:
            logger.exception("unexpected error for %s %s", request.method, request.path)
            return refusal(ApiError(500, "InternalError", "an error on the server ended the request"))

    def authenticate(self, request: Request) -> User:
        """Who sends this, as its head tells. Raises ApiError 401."""
        path = paths.parse(request.path)
        return self._authenticated(request, None if path.export else self.clusters.find(path.cluster))

    def _call(self, request: Request, path: Path) -> Call:
        cluster = self.clusters.find(path.cluster)
        resource = path.resource.id if path.resource else ""
        return Call(cluster.name if cluster else path.cluster, paths.verb(request, path.resource), resource)

    def _route(self, request: Request, path: Path) -> Response:
        cluster = self.clusters.find(path.cluster)
        if path.export:
            return self._virtual(request, path, path.export)
        if cluster and not cluster.available:
            raise errors.unavailable(f"cluster {cluster.name}")
        if cluster and path.parts and path.parts[0] in _HEALTH:
            return Response(200, b"ok", "text/plain")
        user = self._authenticated(request, cluster)
        if cluster is None:
            verb = request.method.lower()
            raise errors.forbidden(f'forbidden: User "{user.name}" cannot {verb} path "{path.below[:200]}"')
        return self._serve(Asked(request, path, user, cluster, cluster, partial(self._authorize, cluster, user)))

    def _virtual(self, request: Request, path: Path, export: tuple[str, str]) -> Response:
        user = self._authenticated(request, None)
        found, host = self.exports.find(*export), self.clusters.find(export[0])
        view = virtual.view(self.exports, self.clusters, found, path.cluster) if found and path.cluster else None
        if view is None or host is None:
            where = ":".join(export)[:200]
            raise errors.forbidden(f'forbidden: User "{user.name}" cannot use the virtual workspace of {where}')
        return self._serve(
            Asked(request, path, user, view.cluster, view.reads, partial(view.permit, self.store, host, user))
        )

    def _serve(self, asked: Asked) -> Response:
        request, named = asked.request, asked.path.resource
        if named:
            return self._resource(asked, named)
        asked.permit(Attributes("get", path=asked.path.below))
        if request.method != "GET":
            raise errors.method_not_allowed()
        return discovery.serve(asked.cluster, asked.path.parts, request.headers.get("accept", ""))

    def _authenticated(self, request: Request, cluster: Cluster | None) -> User:
        realm = cluster.name if cluster and cluster.is_target else ""
        user = self.tokens.user(request.headers.get("authorization", ""), realm)
        if user is None:
            raise errors.unauthorized()
        return user

    def _authorize(self, cluster: Cluster, user: User, wanted: Attributes) -> None:
        if auth.allowed(self.store, cluster, user, wanted):
            return
        if wanted.path:
            raise errors.forbidden(f'forbidden: User "{user.name}" cannot {wanted.verb} path "{wanted.path[:200]}"')
        plural = f"{wanted.resource.partition('/')[0]}.{wanted.group}".rstrip(".")
        where = f' in the namespace "{wanted.namespace}"' if wanted.namespace else " at the cluster scope"
        quoted = f'"{wanted.name}" ' if wanted.name else ""
        message = (
            f'{plural} {quoted}is forbidden: User "{user.name}" cannot {wanted.verb} resource "{wanted.resource}" '
            f'in API group "{wanted.group}"{where}'
        )
        raise errors.forbidden(message, plural, wanted.name)

    def _resource(self, asked: Asked, named: Named) -> Response:
        request, verb = asked.request, paths.verb(asked.request, named)
        check_accept(request)
        at = asked.cluster.address(named.group, named.plural, named.version, named.namespace, named.name)
        served = {"": True, "status": at.version.status, "scale": at.version.scale is not None}
        if named.rest or not served.get(named.subresource) or (at.namespace and not at.resource.namespaced):
            raise errors.no_such_path()
        if not verb:
            raise errors.method_not_allowed()
        name = named.name or reads.selected_name(request)
        asked.permit(Attributes(verb, named.group, named.asked, named.namespace, name))
        if verb == "patch" and request.media_type == patch.APPLY and not self.registry.exists(at):
            asked.permit(Attributes("create", named.group, named.asked, named.namespace, named.name))
        if verb not in at.resource.verbs or (named.subresource and verb not in ("get", "update", "patch")):
            raise errors.method_not_allowed()
        if at.resource.namespaced and not at.namespace and verb not in ("list", "watch"):
            raise errors.method_not_allowed()
        if at.resource.plural in reviews.REVIEWS and not at.resource.custom:
            return answer(reviews.review(self.store, at, parse_object(request), asked.user), 201)
        if verb == "get" and named.subresource == "scale":
            return writes.read_scale(self.registry, at)
        if verb in _READS:
            return _READS[verb](self.store, at._replace(cluster=asked.reads), request)
        if verb in ("delete", "deletecollection"):
            return writes.delete(self.store, self.deleter, at, request)
        return writes.write(self.registry, at, request, asked.user, named.subresource)
