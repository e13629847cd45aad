"""The client: requests to one API server, or to one kcp workspace, as raw bytes or as objects."""

import copy
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, Self, TypeAlias
from urllib.parse import urlencode

import msgspec

from shared.kube.auth.kubeconfig import Credentials
from shared.kube.decoding import decode, decode_page
from shared.kube.errors import ApiError, TooLarge
from shared.kube.http.dial import Connect
from shared.kube.impersonation import Impersonated
from shared.kube.resources import Resource
from shared.kube.transport import CONNECTIONS, Headers, Meter, Transport
from shared.kube.urls import encode_params, workspace_url

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    T = TypeVar("T", default=dict[str, Any])
else:  # the default is for the type checker: plain dicts where no type is named
    from typing import TypeVar

    T = TypeVar("T")

Object: TypeAlias = dict[str, Any]
Propagation: TypeAlias = Literal["Background", "Foreground", "Orphan"]

JSON = "application/json"
MAX_BODY = 256 << 20  # bytes; a list page is under 32 MiB in practice, and a server is not trusted to end
PAGE_SIZE = 500  # what kubectl and client-go ask for

_MERGE_PATCH = "application/merge-patch+json"
_APPLY_PATCH = "application/apply-patch+yaml"  # JSON is YAML
_METADATA = f"application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,{JSON}"
_METADATA_EVENTS = f"application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,{JSON}"


class Bounds(msgspec.Struct, frozen=True):
    """The most that is taken of one collection; bytes are those of its JSON. More of it is `TooLarge`."""

    objects: int
    bytes: int


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Part of a collection, all of it if `continues` is empty. `version` is where a watch may begin."""

    items: list[T]
    version: str
    continues: str = ""


class Route(Protocol):
    """Chooses where a request goes."""

    def base(self, method: str, path: str) -> str:
        """The base for a request of this path below it; empty: that of the client. Raises KubeError where there is
        none now."""
        ...


class Client:
    """Requests to the API server that `credentials` name. Connections open on first use.

    All methods raise ApiError for an answer that is not success, Unreachable for none, and ConfigError for credentials
    that do not work. Nothing is retried or slept on here: `ApiError.retry_after` says what the server asked for.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        user_agent: str = "moorage",
        timeout: float = 10.0,
        permit: Callable[[str], bool] | None = None,
        proof: Callable[[], Awaitable[None]] | None = None,
        connections: int = CONNECTIONS,
        meter: Meter | None = None,
        connect: Connect | None = None,
    ) -> None:
        """`timeout` in seconds, for a whole request unless a call gives its own; waiting for one of the `connections`
        counts.

        `permit` is asked of each IP address before a connection to it is made; what it refuses raises NotAllowed.
        `proof` comes before the first request; what it raises, that raises, and the next one proves anew. What
        `connect` makes is taken in place of a connection to the server's address.
        """
        self.base = credentials.server.rstrip("/")
        self.timeout = timeout
        self.place = credentials.place
        self._transport = Transport(credentials, user_agent, permit, proof, connections, meter, connect)
        self._most = MAX_BODY
        self._who: Headers = {}
        self.route: Route | None = None
        self._owner = True

    async def close(self) -> None:
        """Close the connections. A view (`at`, `cluster`) has none of its own, so closing it does nothing."""
        if self._owner:
            await self._transport.close()

    def retire(self) -> None:
        """Keep no connection that nobody uses. Whoever has this client may go on with it."""
        if self._owner:
            self._transport.retire()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def at(self, prefix: str) -> Self:
        """This client on another base: a path below the present one, or a whole URL of the same trust domain.

        The view shares connections and identity, and costs microseconds. Give it no URL that a tenant chose: our token
        goes there.
        """
        view = self._view()
        view.base = (prefix if "://" in prefix else f"{self.base}/{prefix.lstrip('/')}").rstrip("/")
        view.route = None
        return view

    def routed(self, route: Route) -> Self:
        """This client as a view of which some requests go elsewhere."""
        view = self._view()
        view.route = route
        return view

    def bounded(self, most: int) -> Self:
        """This client, as a view that takes no body of over `most` bytes: for servers that are not trusted."""
        view = self._view()
        view._most = most  # noqa: SLF001 - a copy of ourselves
        return view

    def acting_as(self, user: Impersonated) -> Self:
        """This client as somebody else, as a view; the API server lets only those do so whom its RBAC allows to."""
        view = self._view()
        view._who = user.headers()  # noqa: SLF001 - a copy of ourselves
        return view

    def cluster(self, workspace: str) -> Self:
        """This client on a workspace of the same kcp; on the server itself if `workspace` is empty."""
        return self.at(workspace_url(self.base, workspace))

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        content_type: str = JSON,
        accept: str = JSON,
        timeout: float | None = None,
        most: int | None = None,
    ) -> bytes:
        """The raw body of a successful answer. `body` is sent as it is if bytes, else as JSON.

        An answer of over `most` bytes raises TooLarge.
        """
        headers = {"Accept": accept, **self._who}
        data: bytes | None = None
        if body is not None:
            data = body if isinstance(body, bytes) else msgspec.json.encode(body)
            headers["Content-Type"] = content_type
        bound = self._most if most is None else min(most, self._most)
        url = self._url(method, path, params)
        return await self._transport.request(method, url, headers, data, timeout or self.timeout, bound)

    def stream(
        self, path: str, *, params: Mapping[str, Any], idle: float, metadata: bool = False
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The lines of an answer that goes on, such as a watch; a silence of over `idle` seconds breaks it. With
        `metadata`, servers that can leave out all but the metadata of objects do."""
        headers = {"Accept": _METADATA_EVENTS if metadata else JSON, **self._who}
        return self._transport.stream(self._url("GET", path, params), headers, self.timeout, idle)

    async def get(
        self,
        resource: Resource,
        name: str,
        namespace: str = "",
        *,
        subresource: str = "",
        type: type[T] | None = None,
    ) -> T:
        raw = await self.request("GET", resource.path(namespace, name, subresource))
        return self._decode(raw, type)

    async def pages(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = PAGE_SIZE,
        bounds: Bounds | None = None,
        metadata: bool = False,
        type: type[T] | None = None,
    ) -> AsyncGenerator[Page[T], None]:
        """A collection in pages, of one version; all namespaces if none is named. No page limit if `limit` is 0.

        With `metadata`, servers that can leave out all but the metadata do.
        A walk that takes minutes may outlive its version: then ApiError with `gone`. What exceeds `bounds` raises
        TooLarge: a server may go on with pages, empty ones as well, for ever.
        """
        path = resource.path(namespace)
        params = {"labelSelector": label_selector, "fieldSelector": field_selector, "limit": limit or None}
        continues: str | None = None
        objects = size = 0
        while continues != "":
            most = bounds.bytes - size if bounds else None
            query = {**params, "continue": continues}
            accept = _METADATA if metadata else JSON
            raw = await self.request("GET", path, params=query, accept=accept, most=most)
            page = Page[T](*decode_page(raw, type, self.base))
            objects, size = objects + max(1, len(page.items)), size + len(raw)
            if bounds and objects > bounds.objects:
                raise TooLarge(f"{self.base} has more {resource.name} than the {bounds.objects} that we take")
            continues = page.continues
            yield page

    async def list(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        bounds: Bounds | None = None,
        type: type[T] | None = None,
    ) -> Page[T]:
        """A whole collection, read in pages; where these expire on the way, once more in one piece."""
        selectors = (label_selector, field_selector)
        try:
            return await self._collect(resource, namespace, selectors, PAGE_SIZE, bounds, type)
        except ApiError as error:
            if not error.gone:
                raise
        return await self._collect(resource, namespace, selectors, 0, bounds, type)

    async def create(
        self,
        resource: Resource,
        obj: Mapping[str, Any],
        *,
        field_manager: str = "",
        dry_run: bool = False,
        type: type[T] | None = None,
    ) -> T:
        """Create `obj` in its own namespace; `already_exists` if its name is taken."""
        _, namespace = _identity(obj)
        params = {"fieldManager": field_manager, "dryRun": "All" if dry_run else None}
        raw = await self.request("POST", resource.path(namespace), params=params, body=obj)
        return self._decode(raw, type)

    async def replace(
        self,
        resource: Resource,
        obj: Mapping[str, Any],
        *,
        subresource: str = "",
        field_manager: str = "",
        type: type[T] | None = None,
    ) -> T:
        """Write the whole object; `conflict` if it holds a resourceVersion that is no longer the newest."""
        name, namespace = _identity(obj)
        path = resource.path(namespace, name, subresource)
        raw = await self.request("PUT", path, params={"fieldManager": field_manager}, body=obj)
        return self._decode(raw, type)

    async def merge_patch(
        self,
        resource: Resource,
        name: str,
        patch: Mapping[str, Any],
        namespace: str = "",
        *,
        subresource: str = "",
        field_manager: str = "",
        dry_run: bool = False,
        type: type[T] | None = None,
    ) -> T:
        """RFC 7386: members replace, None removes, lists replace whole. A resourceVersion makes it conditional."""
        path = resource.path(namespace, name, subresource)
        params = {"fieldManager": field_manager, "dryRun": "All" if dry_run else None}
        raw = await self.request("PATCH", path, params=params, body=patch, content_type=_MERGE_PATCH)
        return self._decode(raw, type)

    async def apply(
        self,
        resource: Resource,
        obj: Mapping[str, Any],
        *,
        field_manager: str = "moorage",
        force: bool = False,
        subresource: str = "",
        dry_run: bool = False,
        type: type[T] | None = None,
    ) -> T:
        """Server-side apply: the object as it is afterwards, whether created (201) or changed (200).

        `conflict` where another manager owns a field with another value, unless `force` takes it over; its
        `details["causes"]` name the fields and managers.
        """
        name, namespace = _identity(obj)
        params = {"fieldManager": field_manager, "force": force or None, "dryRun": "All" if dry_run else None}
        path = resource.path(namespace, name, subresource)
        raw = await self.request("PATCH", path, params=params, body=obj, content_type=_APPLY_PATCH)
        return self._decode(raw, type)

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str = "",
        *,
        propagation: Propagation | None = None,
        uid: str = "",
        resource_version: str = "",
    ) -> Object:
        """Delete one object; the object where finalizers have it only marked, else mostly a Status.

        `conflict` if `uid` or `resource_version` differ.
        """
        preconditions = {k: v for k, v in (("uid", uid), ("resourceVersion", resource_version)) if v}
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if propagation:
            options["propagationPolicy"] = propagation
        if preconditions:
            options["preconditions"] = preconditions
        raw = await self.request("DELETE", resource.path(namespace, name), body=options)
        found: Object = self._decode(raw, None) if raw else {}
        return found

    async def _collect(
        self,
        resource: Resource,
        namespace: str,
        selectors: tuple[str, str],
        limit: int,
        bounds: Bounds | None,
        type: type[T] | None,
    ) -> Page[T]:
        items: list[T] = []
        version = ""
        labels, fields = selectors
        pages = self.pages(
            resource, namespace, label_selector=labels, field_selector=fields, limit=limit, bounds=bounds, type=type
        )
        async for page in pages:
            items.extend(page.items)
            version = page.version
        return Page(items, version)

    def _url(self, method: str, path: str, params: Mapping[str, Any] | None) -> str:
        query = urlencode(encode_params(params))
        base = self.base if self.route is None else self.route.base(method, path) or self.base
        return f"{base}{path}?{query}" if query else f"{base}{path}"

    def _view(self) -> Self:
        view = copy.copy(self)
        view._owner = False  # noqa: SLF001 - a copy of ourselves
        return view

    def _decode(self, raw: bytes, type: type[T] | None) -> T:
        wanted: Any = type or dict
        return decode(raw, wanted, self.base)  # type: ignore[no-any-return]  # it is of the wanted type


def _identity(obj: Mapping[str, Any]) -> tuple[str, str]:
    """Name and namespace."""
    metadata = obj.get("metadata") or {}
    return metadata.get("name") or "", metadata.get("namespace") or ""
