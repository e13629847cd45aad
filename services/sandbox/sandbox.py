"""Requests to the control plane: `Sandbox.handle` answers any, without knowing how it came."""

import logging
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from services.sandbox import errors
from services.sandbox.access import auth, impersonation, reviews
from services.sandbox.access.auth import Attributes
from services.sandbox.access.users import User
from services.sandbox.errors import ApiError
from services.sandbox.kcp import virtual
from services.sandbox.objects import reads, writes
from services.sandbox.plane import ControlPlane
from services.sandbox.schemas.kinds import WORKSPACES
from services.sandbox.state.clusters import SHARD_PREFIX, Cluster
from services.sandbox.state.store import EVERY
from services.sandbox.wire import discovery, media, paths
from services.sandbox.wire.faults import Call
from services.sandbox.wire.http import Request, Response, answer, check_accept, parse_object, refusal
from services.sandbox.wire.paths import Named, Path
from services.sandbox.world import control

logger = logging.getLogger(__name__)

_HEALTH = frozenset({"healthz", "livez", "readyz"})
_NOWHERE = Cluster("", {})
_READS = {"get": reads.get, "list": reads.list_, "watch": reads.watch}


class Asked(NamedTuple):
    """Who asks what of which cluster; `permit` refuses by raising ApiError."""

    request: Request
    path: Path
    user: User
    cluster: Cluster
    permit: Callable[[Attributes], None]


class Sandbox(ControlPlane):
    """A control plane that answers requests."""

    async def handle(self, request: Request) -> Response:
        """Answer one request; every failure is a Status."""
        path = paths.parse(request.path)
        try:
            if path.parts[:1] == ("sandbox",):
                user = self._authenticated(request, None)
                return control.route(self, user, request, path.parts[1:])
            self.tally.add(request, path)
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
        across = f"{SHARD_PREFIX}{path.shard}" if path.export and path.cluster == EVERY else path.cluster
        return Call(cluster.name if cluster else across, paths.verb(request, path.resource), resource)

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
            if ":" in path.cluster:  # as kcp: to anybody, and by its path
                raise errors.not_found(WORKSPACES, path.cluster[:200])
            raise auth.refused(_NOWHERE, user, _wanted(request, path))
        if (other := impersonation.asked(request.headers)) is not None:
            user = self._impersonated(cluster, user, other)
        return self._serve(Asked(request, path, user, cluster, partial(self._authorize, cluster, user)))

    def _impersonated(self, cluster: Cluster, user: User, other: User) -> User:
        """Who acts from here on. Raises ApiError 403."""
        for wanted in impersonation.needed(other):
            self._authorize(cluster, user, wanted)
        if group := impersonation.forbidden(user, other, cluster):
            raise errors.forbidden(
                f'groups "{group}" is forbidden: User "{user.name}" cannot impersonate it', "groups", group
            )
        return impersonation.confined(user, other, cluster)

    def _virtual(self, request: Request, path: Path, export: tuple[str, str]) -> Response:
        if path.shard not in self.clusters.shards:
            raise errors.no_such_path()
        if path.shard in self.clusters.lost:
            raise errors.unavailable(f"shard {path.shard}")
        user = self._authenticated(request, None)
        if not all(export) or not path.cluster or ":" in path.cluster:
            why = "Path not resolved to a valid virtual workspace"
            where = f'{request.method.lower()} path "{request.path[:200]}"'
            raise errors.forbidden(f'forbidden: User "{user.name}" cannot {where}: {why}')
        view = virtual.view(self.exports, self.clusters, export, path)
        if view is None:
            raise virtual.missing(self.store, self.clusters, export, user, _wanted(request, path))
        return self._serve(Asked(request, path, user, view.cluster, partial(view.permit, self.store, user, export[1])))

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
        if not auth.allowed(self.store, cluster, user, wanted):
            raise auth.refused(cluster, user, wanted)

    def _resource(self, asked: Asked, named: Named) -> Response:
        request, verb = asked.request, paths.verb(asked.request, named)
        check_accept(request)
        name = named.name or reads.selected_name(request)
        if verb:  # who may not do it does not learn either whether there is such a kind
            asked.permit(Attributes(verb, named.group, named.asked, named.namespace, name))
        at = asked.cluster.address(named.group, named.plural, named.version, named.namespace, named.name)
        served = {"": True, "status": at.version.status, "scale": at.version.scale is not None}
        if named.rest or not served.get(named.subresource) or (at.namespace and not at.resource.namespaced):
            raise errors.no_such_path()
        if not verb:
            raise errors.method_not_allowed()
        if verb == "patch" and request.media_type == media.APPLY_PATCH and not self.registry.exists(at):
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
            return _READS[verb](self.store, at, request)
        if verb in ("delete", "deletecollection"):
            return writes.delete(self.store, self.deleter, at, request)
        return writes.write(self.registry, at, request, asked.user, named.subresource)


def _wanted(request: Request, path: Path) -> Attributes:
    """What is asked of a cluster that is not there."""
    verb, named = paths.verb(request, path.resource), path.resource
    if named is None:
        return Attributes(verb, path=path.below)
    return Attributes(verb, named.group, named.asked, named.namespace, named.name)
