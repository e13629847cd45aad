"""Which APIs a server serves.

Aggregated discovery takes two requests, one for the core group and one for all others. Servers that do not know it are
asked group by group. Either way, a group whose server is broken costs that group alone.
"""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgspec

from shared.kube.client import Client
from shared.kube.errors import MALFORMED, ApiError, KubeError, Unreachable
from shared.kube.resources import Resource

logger = logging.getLogger(__name__)

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
_IN_FLIGHT = 8  # requests at once where each group version is asked for

_VERSION = re.compile(r"v([1-9][0-9]{0,8})(?:(alpha|beta)([1-9][0-9]{0,8}))?", re.ASCII)
_STABILITY = {None: 0, "beta": 1, "alpha": 2}


class ServedKind(msgspec.Struct, frozen=True):
    """One kind that is served. `versions` begins with the best by Kubernetes' rules; `verbs` are of that one."""

    group: str
    resource: str
    kind: str
    versions: tuple[str, ...]
    namespaced: bool
    verbs: tuple[str, ...] = ()


class KnownKind(Protocol):
    """What is to be known of a kind to find its objects; as `ServedKind`."""

    @property
    def group(self) -> str: ...
    @property
    def resource(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def versions(self) -> tuple[str, ...]: ...
    @property
    def namespaced(self) -> bool: ...


class Served(msgspec.Struct, frozen=True):
    """The kinds that a server serves. `broken` names the groups that could not be read (all or in part), and why."""

    kinds: list[ServedKind]
    broken: dict[str, str]


class UnknownKind(LookupError):
    """The server does not serve this kind, or not in this version."""


def version_priority(version: str) -> tuple[int, int, int, str]:
    """A sort key that puts the best version first: v2, v1, v1beta2, v1beta1, v1alpha1, then others by name.

    https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/#version-priority
    """
    match = _VERSION.fullmatch(version)
    if match is None:
        return (3, 0, 0, version)
    major, stability, minor = match.groups()
    return (_STABILITY[stability], -int(major), -int(minor or 0), "")


async def discover(client: Client) -> Served:
    """All kinds that the server serves. Raises ApiError or Unreachable if it gives no answer at all."""
    core, groups = await asyncio.gather(_fetch(client, "/api"), _fetch(client, "/apis"))
    if core is None and groups is None:
        raise ApiError(404, "NotFound", f"{client.base} serves no discovery: is it an API server?")
    found: list[_Found] = []
    broken: dict[str, str] = {}
    legacy: list[tuple[str, str]] = []
    for raw, listed in ((core, _core_versions), (groups, _group_versions)):
        if raw is None:
            continue
        document = _decode(raw, _Document)
        if document.kind == "APIGroupDiscoveryList":
            found.extend(_aggregated(_decode(raw, _Aggregated), broken))
        else:
            legacy.extend(listed(document))
    if legacy and (core_versions := {each.version for each in found if not each.group}):
        # kcp aggregates `/api` alone, and leaves out of it what came by an APIExport. The version itself has all.
        legacy.extend(("", version) for version in sorted(core_versions))
        found = [each for each in found if each.group]
    found.extend(await _legacy(client, legacy, broken))
    return Served(_merge(found), broken)


class RestMapper:
    """Kind to resource, as the server has it now. What is asked for and unknown is looked up again, but not too often.

    `every` is the least time between two look-ups that misses cause, in seconds. At most `limit` kinds are kept. What
    is `known` to be served need not be looked up: it takes two requests with long answers.
    """

    def __init__(
        self,
        client: Client,
        *,
        known: Iterable[KnownKind] = (),
        every: float = 10.0,
        limit: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._every = every
        self._limit = limit
        self._clock = clock
        self._kinds: dict[tuple[str, str], KnownKind] = {(each.group, each.kind): each for each in known}
        self._read: float | None = None
        self._lock = asyncio.Lock()

    async def resource(self, api_version: str, kind: str) -> Resource:
        """Where objects of this kind live. Raises UnknownKind, saying what is served, and what `discover` raises."""
        group, _, version = api_version.rpartition("/")
        found = self._kinds.get((group, kind))
        if found is None or version not in found.versions:
            await self._refresh_if_old()
            found = self._kinds.get((group, kind))
        if found is None:
            raise UnknownKind(f"{kind} in {group or 'the core group'} is not served")
        if version not in found.versions:
            raise UnknownKind(f"{kind} is served in {group} as {', '.join(found.versions)}, not {version}")
        return Resource(group, version, found.resource, found.namespaced, kind)

    async def refresh(self) -> Served:
        """Read anew what is served. Groups that are broken now keep what was known of them."""
        served = await discover(self._client)
        kept = {key: known for key, known in self._kinds.items() if key[0] in served.broken}
        if len(served.kinds) > self._limit:
            logger.warning("%s serves %d kinds: only %d are kept", self._client.base, len(served.kinds), self._limit)
        fresh: dict[tuple[str, str], KnownKind] = {
            (found.group, found.kind): found for found in served.kinds[: self._limit]
        }
        self._kinds = {**kept, **fresh}
        self._read = self._clock()
        return served

    def expire(self) -> None:
        """Let the next miss look up again, whenever the last one did: there is news."""
        self._read = None

    async def _refresh_if_old(self) -> None:
        async with self._lock:
            if self._read is None or self._clock() - self._read >= self._every:
                await self.refresh()


class _Found(msgspec.Struct):
    """One resource of one version."""

    group: str
    version: str
    resource: str
    kind: str
    namespaced: bool
    verbs: list[str]


class _ResponseKind(msgspec.Struct):
    kind: str = ""


class _AggregatedResource(msgspec.Struct, rename="camel"):
    resource: str
    response_kind: _ResponseKind | None = None
    scope: str = ""
    verbs: list[str] | None = None


class _AggregatedVersion(msgspec.Struct):
    version: str
    resources: list[_AggregatedResource] | None = None
    freshness: str = ""


class _Name(msgspec.Struct):
    name: str | None = None  # absent, or null, for the core group


class _AggregatedGroup(msgspec.Struct):
    metadata: _Name = msgspec.field(default_factory=_Name)
    versions: list[_AggregatedVersion] | None = None


class _Aggregated(msgspec.Struct):
    items: list[_AggregatedGroup] | None = None


class _LegacyVersion(msgspec.Struct):
    version: str


class _LegacyGroup(msgspec.Struct):
    name: str
    versions: list[_LegacyVersion] | None = None


class _Document(msgspec.Struct):
    """Whatever /api and /apis may answer: `versions` is for the former, `groups` for the latter."""

    kind: str = ""
    versions: list[str] | None = None
    groups: list[_LegacyGroup] | None = None


class _LegacyResource(msgspec.Struct):
    name: str
    kind: str = ""
    namespaced: bool = False
    verbs: list[str] | None = None


class _LegacyResources(msgspec.Struct):
    resources: list[_LegacyResource] | None = None


def _decode(raw: bytes, type_: type[Any]) -> Any:
    try:
        return msgspec.json.decode(raw, type=type_)
    except MALFORMED as error:
        raise Unreachable("discovery answered with something unexpected") from error


async def _fetch(client: Client, path: str) -> bytes | None:
    """None where there is nothing: a server may lack the core group, or have only that."""
    try:
        return await client.request("GET", path, accept=_AGGREGATED)
    except ApiError as error:
        if error.not_found:
            return None
        raise


def _aggregated(document: _Aggregated, broken: dict[str, str]) -> Iterable[_Found]:
    for group in document.items or ():
        name = group.metadata.name or ""
        for version in group.versions or ():
            if version.freshness == "Stale":
                broken[name] = f"{version.version} is not available"
            for resource in version.resources or ():
                kind = resource.response_kind.kind if resource.response_kind else ""
                if kind:  # else only subresources are served
                    namespaced, verbs = resource.scope == "Namespaced", resource.verbs or []
                    yield _Found(name, version.version, resource.resource, kind, namespaced, verbs)


def _core_versions(document: _Document) -> list[tuple[str, str]]:
    return [("", version) for version in document.versions or ()]


def _group_versions(document: _Document) -> list[tuple[str, str]]:
    return [(group.name, known.version) for group in document.groups or () for known in group.versions or ()]


async def _legacy(client: Client, versions: list[tuple[str, str]], broken: dict[str, str]) -> list[_Found]:
    room = asyncio.Semaphore(_IN_FLIGHT)

    async def read(group: str, version: str) -> list[_Found]:
        path = f"/apis/{group}/{version}" if group else f"/api/{version}"
        try:
            async with room:
                document = _decode(await client.request("GET", path), _LegacyResources)
        except KubeError as error:
            broken[group] = f"{version}: {error}"
            return []
        return [
            _Found(group, version, known.name, known.kind, known.namespaced, known.verbs or [])
            for known in document.resources or ()
            if "/" not in known.name  # a subresource
        ]

    parts = await asyncio.gather(*(read(group, version) for group, version in versions))
    return [found for part in parts for found in part]


def _merge(found: Iterable[_Found]) -> list[ServedKind]:
    """One per resource, sorted by group and resource."""
    collected: dict[tuple[str, str], list[_Found]] = {}
    for each in found:
        collected.setdefault((each.group, each.resource), []).append(each)
    merged = []
    for (group, resource), versions in sorted(collected.items()):
        versions.sort(key=lambda each: version_priority(each.version))
        best = versions[0]
        names = tuple(each.version for each in versions)
        merged.append(ServedKind(group, resource, best.kind, names, best.namespaced, tuple(best.verbs)))
    return merged
