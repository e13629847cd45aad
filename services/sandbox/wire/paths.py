"""What a request's path names. It does no I/O; whether any of it is there is for others to find out."""

from functools import lru_cache
from typing import NamedTuple

from services.sandbox.schemas.resources import qualified
from services.sandbox.state.clusters import ROOT
from services.sandbox.wire.http import Request

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


class Named(NamedTuple):
    """A resource of one version, maybe within a namespace, maybe one object, maybe a subresource of it. `rest` is what
    no API has, so it must be empty."""

    group: str
    version: str
    plural: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return qualified(self.group, self.plural)

    @property
    def asked(self) -> str:
        """The resource as RBAC writes it."""
        return f"{self.plural}/{self.subresource}" if self.subresource else self.plural


class Path(NamedTuple):
    """`cluster` is a path, an id or `*`, and empty where the path has none. `export` is that of a virtual workspace:
    its workspace and name, on a `shard`. `resource` is none for discovery, health and the like, which `parts` below the
    cluster tell."""

    cluster: str
    parts: tuple[str, ...]
    export: tuple[str, str] | None = None
    resource: Named | None = None
    shard: str = ROOT

    @property
    def below(self) -> str:
        return "/" + "/".join(self.parts)


@lru_cache(maxsize=128)  # a request's path is read twice: who may send a body is known before it is taken
def parse(path: str) -> Path:
    """`/clusters/<cluster>/...`, `/services/apiexport/<workspace>/<export>/clusters/<cluster>/...` (with
    `/shards/<shard>` before it for another shard than that of the root), or of the root."""
    export: tuple[str, str] | None = None
    cluster, shard = ROOT, ROOT
    parts = tuple(part for part in path.split("/") if part)
    if parts[:1] == ("shards",) and parts[2:4] == ("services", "apiexport"):
        shard, parts = parts[1], parts[2:]
    if parts[:2] == ("services", "apiexport"):
        where, name, *_ = (*parts[2:4], "", "")
        export, cluster, parts = (where, name), "", parts[4:]
    if parts[:1] == ("clusters",):
        cluster, parts = parts[1] if len(parts) > 1 else "", parts[2:]
    return Path(cluster, parts, export, _resource(parts), shard)


def _resource(parts: tuple[str, ...]) -> Named | None:
    match parts:
        case ("api", version, *rest) if rest:
            group = ""
        case ("apis", group, version, *rest) if rest:
            pass
        case _:
            return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    plural, name, subresource, *more = (*rest, "", "", "")[: max(3, len(rest))]
    return Named(group, version, plural, namespace, name, subresource, tuple(more))


def verb(request: Request, resource: Named | None) -> str:
    """The verb of RBAC; empty where the method is none that the path takes."""
    if resource is None:
        return request.method.lower()
    if request.method == "GET":
        return "watch" if request.flag("watch") else "get" if resource.name else "list"
    if request.method == "DELETE":
        return "delete" if resource.name else "deletecollection"
    return _VERBS.get(request.method, "") if bool(resource.name) is (request.method != "POST") else ""
