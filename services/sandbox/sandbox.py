"""The control plane itself: `Sandbox.handle` answers any request, without knowing how it came."""

import logging
import secrets
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from services.sandbox import auth, control, discovery, errors, reads, reviews, virtual, writes
from services.sandbox.auth import Attributes, Tokens, User
from services.sandbox.clusters import ROOT, TARGET_PREFIX, WORKSPACE_RESOURCES, Cluster, Clusters, target_resources
from services.sandbox.commits import Address, Commits
from services.sandbox.deletion import Deleter
from services.sandbox.effects import Effects, admit
from services.sandbox.errors import ApiError, Document
from services.sandbox.exports import Exports
from services.sandbox.http import Request, Response, answer, parse_object, refusal
from services.sandbox.registry import Registry, Write
from services.sandbox.resources import Version
from services.sandbox.store import Store

logger = logging.getLogger(__name__)

_HEALTH = frozenset({"healthz", "livez", "readyz"})
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
SYSTEM = User("system:kube-controller-manager", (auth.ADMINS,))


class Asked(NamedTuple):
    """A request with who asks, of which cluster, and what lets them (see `Sandbox._api`)."""

    request: Request
    user: User
    cluster: Cluster
    permit: Callable[[Attributes], None]
    reads: Cluster


class Sandbox:
    """Workspaces and target clusters, in memory. `url` is where clients reach it, without a trailing slash."""

    def __init__(self, url: str = "http://127.0.0.1:6443") -> None:
        self.url = url
        # Versions go on from the clock, so that those of an earlier run are recognised as expired.
        self.store = Store(first_revision=time.time_ns() // 1000)
        self.clusters = Clusters()
        self.tokens = Tokens()
        self._commits = Commits(self.store)
        self._effects = Effects(self._commits, self.clusters, url)
        self.exports = Exports(self._commits, self.clusters, url)
        self._commits.effects = {**self._effects.table(), **self.exports.table()}
        self.deleter = Deleter(self._commits)
        self.registry = Registry(self._commits, self.deleter, self._admit)
        self.on_target: Callable[[Cluster], None] | None = None  # told of each target that is added
        self._effects.furnish(Cluster(ROOT, WORKSPACE_RESOURCES), writes.now())

    def _admit(self, at: Address, new: Document, old: Document | None, write: Write) -> None:
        admit(at, new, old, write)
        self.exports.admit(at, new, old, write)

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
        return _address(found, group, version, plural)._replace(namespace=namespace, name=name)

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
        try:
            return self._route(request)
        except ApiError as error:
            return refusal(error)
        except RecursionError:
            return refusal(errors.bad_request("the object is nested too deeply"))
        except Exception:
            logger.exception("unexpected error for %s %s", request.method, request.path)
            return refusal(ApiError(500, "InternalError", "an error on the server ended the request"))

    def _route(self, request: Request) -> Response:
        parts = [part for part in request.path.split("/") if part]
        if parts[:1] == ["sandbox"]:
            return control.route(self, self._authenticated(request, None), request, parts[1:])
        if parts[:2] == ["services", "apiexport"]:
            return self._virtual(request, parts[2:])
        if parts[:1] == ["clusters"]:
            name, parts = parts[1] if len(parts) > 1 else "", parts[2:]
        else:
            name = ROOT
        cluster = self.clusters.find(name)
        if cluster and not cluster.available:
            raise errors.unavailable(f"cluster {cluster.name}")
        if parts and parts[0] in _HEALTH and cluster:
            return Response(200, b"ok", "text/plain")
        user = self._authenticated(request, cluster)
        if cluster is None:
            path = "/" + "/".join(parts)
            raise errors.forbidden(f'forbidden: User "{user.name}" cannot {request.method.lower()} path "{path[:200]}"')
        return self._api(request, user, cluster, parts, partial(self._authorize, cluster, user))

    def _virtual(self, request: Request, parts: list[str]) -> Response:
        """`/services/apiexport/<path or id>/<export>/clusters/<path, id or *>/...`"""
        user = self._authenticated(request, None)
        path, name, _, cluster, *rest = (*parts, "", "", "", "")[: max(4, len(parts))]
        export, host = self.exports.find(path, name), self.clusters.find(path)
        found = (
            virtual.view(self.exports, self.clusters, export, cluster)
            if export and parts[2:3] == ["clusters"]
            else None
        )
        if found is None or host is None:
            raise errors.forbidden(
                f'forbidden: User "{user.name}" cannot use the virtual workspace of {path}:{name}'[:300]
            )
        return self._api(request, user, found.cluster, rest, partial(found.permit, self.store, host, user), found.reads)

    def _api(
        self,
        request: Request,
        user: User,
        cluster: Cluster,
        parts: list[str],
        permit: Callable[[Attributes], None],
        reads: Cluster | None = None,
    ) -> Response:
        """Serve a path below a cluster, reads from `reads` where that is another; `permit` refuses by raising."""
        asked = Asked(request, user, cluster, permit, reads or cluster)
        if parts[:1] == ["api"] and len(parts) > 2:
            return self._resource(asked, "", parts[1], parts[2:])
        if parts[:1] == ["apis"] and len(parts) > 3:
            return self._resource(asked, parts[1], parts[2], parts[3:])
        permit(Attributes("get", path="/" + "/".join(parts)))
        if request.method != "GET":
            raise errors.method_not_allowed()
        return _discover(cluster, parts, request)

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

    def _resource(self, asked: Asked, group: str, version: str, parts: list[str]) -> Response:
        namespace = ""
        if parts[0] == "namespaces" and len(parts) > 2 and parts[2] not in ("status", "finalize"):
            namespace, parts = parts[1], parts[2:]
        plural, name, subresource, *rest = (*parts, "", "", "")[: max(3, len(parts))]
        at = _address(asked.cluster, group, version, plural)._replace(namespace=namespace, name=name)
        served = {"": True, "status": at.version.status, "scale": at.version.scale is not None}
        if rest or not served.get(subresource) or (namespace and not at.resource.namespaced):
            raise errors.no_such_path()
        verb = _verb(asked.request, name)
        asked.permit(Attributes(verb, group, f"{plural}/{subresource}" if subresource else plural, namespace, name))
        if verb not in at.resource.verbs or (subresource and verb not in ("get", "update", "patch")):
            raise errors.method_not_allowed()
        if at.resource.namespaced and not namespace and verb not in ("list", "watch"):
            raise errors.method_not_allowed()
        if verb in ("get", "list", "watch"):
            at = at._replace(cluster=asked.reads)
        return self._serve(asked.request, asked.user, at, verb, subresource)

    def _serve(self, request: Request, user: User, at: Address, verb: str, subresource: str) -> Response:
        if at.resource.plural in reviews.REVIEWS and not at.resource.custom:
            return answer(reviews.review(self.store, at, parse_object(request), user), 201)
        if verb == "get" and subresource == "scale":
            return writes.read_scale(self.registry, at)
        if verb in ("get", "list", "watch"):
            read = {"get": reads.get, "list": reads.list_, "watch": reads.watch}[verb]
            return read(self.store, at, request)
        if verb in ("delete", "deletecollection"):
            return writes.delete(self.store, self.deleter, at, request)
        return writes.write(self.registry, at, request, user, subresource)


def _verb(request: Request, name: str) -> str:
    if request.method == "GET":
        return "watch" if request.flag("watch") else "get" if name else "list"
    verb = _VERBS.get(request.method)
    if verb is None or (verb == "create" and name) or (verb in ("update", "patch") and not name):
        raise errors.method_not_allowed()
    return "deletecollection" if verb == "delete" and not name else verb


def _address(cluster: Cluster, group: str, version: str, plural: str) -> Address:
    resource = cluster.resource(group, plural)
    found: Version | None = resource.versions.get(version) if resource else None
    if resource is None or found is None:
        raise errors.no_such_path()
    return Address(cluster, resource, found)


def _discover(cluster: Cluster, parts: list[str], request: Request) -> Response:
    accept = request.headers.get("accept", "")
    found: Document | None = None
    match parts:
        case ["version"]:
            found = discovery.VERSION
        case ["api" | "apis" as root] if "as=APIGroupDiscoveryList" in accept and "v=v2;" in f"{accept.split(',')[0]};":
            body = answer(discovery.aggregated(cluster, core=root == "api"))
            body.content_type = discovery.AGGREGATED
            return body
        case ["api"]:
            found = discovery.core_versions()
        case ["apis"]:
            found = discovery.group_list(cluster)
        case ["api", version]:
            found = discovery.resource_list(cluster, "", version)
        case ["apis", group]:
            found = discovery.group(cluster, group)
        case ["apis", group, version]:
            found = discovery.resource_list(cluster, group, version)
        case ["openapi", "v3"]:
            found = discovery.openapi_index(cluster)
        case ["openapi", "v3", "api", version]:
            found = discovery.openapi(cluster, "", version)
        case ["openapi", "v3", "apis", group, version]:
            found = discovery.openapi(cluster, group, version)
    if found is None:
        raise errors.no_such_path()
    return answer(found)
