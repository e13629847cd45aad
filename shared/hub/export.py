"""The workspaces that have bound our APIExport, as kcp knows them, and the ways to what they have of our kinds.

What a workspace has under our group that did not come by the export is another kind of the same name: nobody but its
administrator says what may be written there. So our kinds are read through the export's virtual workspace alone, which
shows what is stored under the export's identity and nothing else. It goes by ids of logical clusters; what says which
path has which id are the bindings to the export, which kcp annotates, whoever writes them.

Writes go to the logical cluster itself, by the same id, with the rights that each worker has there. Through the virtual
workspace they would need rights on its content, which are by verb alone and not by kind, and kcp computes patches there
so that what was applied once and is left out later would stay.
"""

import asyncio
import contextlib
import functools
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from types import TracebackType
from typing import Final, Self, TypeVar

import msgspec

from shared.api import GROUP
from shared.hub.fan import REFUSED, Across, Fan, LogicalCluster, Portion
from shared.hub.resources import APIBINDINGS, ENDPOINTS
from shared.kube.client import Client
from shared.kube.errors import ApiError, KubeError, Unreachable
from shared.kube.informer import Informer
from shared.kube.resources import Resource
from shared.kube.urls import workspace_url

log = logging.getLogger("moorage.hub")

PATH: Final = "kcp.io/path"
PATHS: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(:[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
AGAIN: Final = 5.0  # seconds after a bug of ours ended a watch

T = TypeVar("T")

_OURS = re.compile(rf"/apis/{re.escape(GROUP)}/[^/]+/.")


class _Meta(msgspec.Struct, frozen=True, rename="camel"):
    annotations: dict[str, str] | None = None
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None


class _Ref(msgspec.Struct, frozen=True):
    name: str = ""


class _Reference(msgspec.Struct, frozen=True):
    export: _Ref = _Ref()


class _BindingSpec(msgspec.Struct, frozen=True):
    reference: _Reference = _Reference()


class _Bound(msgspec.Struct, frozen=True):
    group: str = ""


class _BindingStatus(msgspec.Struct, frozen=True):
    bound: tuple[_Bound, ...] = msgspec.field(default=(), name="boundResources")
    home: str = msgspec.field(default="", name="apiExportClusterName")


class _Binding(msgspec.Struct, frozen=True):
    metadata: _Meta = _Meta()
    spec: _BindingSpec = _BindingSpec()
    status: _BindingStatus = _BindingStatus()


class _Endpoint(msgspec.Struct, frozen=True):
    url: str = ""


class _SliceSpec(msgspec.Struct, frozen=True):
    export: _Ref = _Ref()


class _SliceStatus(msgspec.Struct, frozen=True):
    endpoints: tuple[_Endpoint, ...] = ()


class _Slice(msgspec.Struct, frozen=True):
    spec: _SliceSpec = _SliceSpec()
    status: _SliceStatus = _SliceStatus()


_BINDING = msgspec.json.Decoder(_Binding)
_SLICE = msgspec.json.Decoder(_Slice)


def export_of(setting: str) -> tuple[str, str]:
    """The workspace and the name of the export that a setting names. Raises ValueError for what names none."""
    workspace, _, name = setting.partition("/")
    if not workspace or not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", name):
        raise ValueError(f"{setting!r} names no export, as root:moorage/{GROUP} would")
    workspace_url("", workspace)
    return workspace, name


def endpoint_of(url: str, name: str, server: str) -> str:
    """The URL of an endpoint of the export; empty for any other URL.

    Our token goes there: so it is told by the operator's own workspace, and never by plain HTTP where the hub is not.
    """
    found = re.fullmatch(rf"(https?)://[^/?#@]+(?:/[^?#]*)?/services/apiexport/([a-z0-9:-]+)/{re.escape(name)}/?", url)
    if found is None or (found.group(1) == "http" and not server.startswith("http://")):
        return ""
    return url.rstrip("/")


class Export:
    """Follows the export's endpoints, and at each of them who has bound it, from `async with` on."""

    def __init__(self, client: Client, workspace: str, name: str) -> None:
        """`client`: of the hub."""
        self._client = client
        self._name = name
        self._slices = Informer(client.cluster(workspace), ENDPOINTS, decode=_SLICE.decode, refused=REFUSED)
        self._bindings: dict[str, _Bindings] = {}  # by endpoint
        self._fans: dict[str, Fan] = {}  # by the name of the resource
        self._tasks: set[asyncio.Task[None]] = set()
        self._listeners: set[Callable[[set[str]], None]] = set()
        self._whole = asyncio.Event()
        self._offered = False  # whether there is a slice that names it
        self._due = asyncio.Event()
        self.consumers: Mapping[str, LogicalCluster] = {}
        """Who has bound it, by path."""

    @property
    def whole(self) -> bool:
        """True once all endpoints have said who their consumers are: who is not among them has not bound it. Never of
        an export that no slice names, as where the setting is mistaken: nobody says anything of it."""
        return self._whole.is_set()

    async def __aenter__(self) -> Self:
        self.start(self._slices.run)
        self.start(self._follow_slices)
        self.start(self._look_when_due)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def await_whole(self, timeout: float | None) -> None:
        """Until it is known who has bound it, or `timeout` seconds have passed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._whole.wait()

    def start(self, run: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Run something for as long as the export is followed, or until it is cancelled; again where it breaks."""
        task = asyncio.create_task(_going_on(run))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def consumer(self, workspace: str) -> LogicalCluster:
        """Where what a workspace has of our kinds is. Raises Unreachable while that is not known, and ApiError 404
        (which names no object) where it has not bound the export."""
        found = self.consumers.get(workspace)
        if found is None:
            raise self.missing(workspace)
        return found

    def missing(self, workspace: str) -> KubeError:
        """Why there is nothing of a workspace that is no consumer."""
        if not self.whole:
            return Unreachable(f"it is not known yet which workspaces have bound the export {self._name}")
        return ApiError(404, "NotFound", f"workspace {workspace} has not bound the export {self._name}")

    def url(self, consumer: LogicalCluster, method: str) -> str:
        """The base for a request on one of our kinds."""
        if method == "GET":
            return f"{consumer.endpoint}/clusters/{consumer.cluster}"
        return workspace_url(self._client.base, consumer.cluster)

    def across(self, endpoint: str) -> Client:
        """A client on all consumers that an endpoint serves."""
        return self._client.at(f"{endpoint}/clusters/*")

    def fan(self, resource: Resource) -> Fan:
        """The watches of one of our kinds across all consumers."""
        found = self._fans.get(resource.name)
        if found is None:
            found = self._fans[resource.name] = Fan(self, resource)
        return found

    async def changes(self) -> AsyncIterator[set[str]]:
        """The paths of workspaces that became consumers, are none any more, or are other ones under the same path."""
        changed: set[str] = set(self.consumers)
        awake = asyncio.Event()

        def note(paths: set[str]) -> None:
            changed.update(paths)
            awake.set()

        self._listeners.add(note)
        try:
            while True:
                now = set(changed)
                changed.clear()
                awake.clear()
                yield now
                await awake.wait()
        finally:
            self._listeners.discard(note)

    async def _follow_slices(self) -> None:
        async for _ in self._slices.events():
            slices = [each for each in self._slices.objects.values() if each.spec.export.name == self._name]
            self._offered = bool(slices)
            named = {
                endpoint
                for each in slices
                for offered in each.status.endpoints
                if (endpoint := endpoint_of(offered.url, self._name, self._client.base))
            }
            for endpoint in named - self._bindings.keys():
                self._bindings[endpoint] = _Bindings(self, endpoint, self._name)
            for endpoint, bindings in self._bindings.items():
                bindings.named = endpoint in named
            self.look_soon()

    def look_soon(self) -> None:
        """Have what the endpoints say taken in, once for all that comes at the same time."""
        self._due.set()

    async def _look_when_due(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            self._look()

    def _look(self) -> None:
        """Take in what the endpoints say. One that is not named any more, as kcp does where the last consumer on a
        shard is gone, is followed until that is seen there as well: it may be kcp that is in trouble."""
        for endpoint in [endpoint for endpoint, each in self._bindings.items() if each.spent]:
            self._bindings.pop(endpoint).end()
            for fan in self._fans.values():
                fan.leave(endpoint)
        best: dict[str, tuple[tuple[bool, str], LogicalCluster]] = {}
        for endpoint, bindings in self._bindings.items():
            for path, rank, cluster in bindings.bound():
                if path not in best or best[path][0] < rank:
                    best[path] = rank, LogicalCluster(endpoint, cluster)
        before, self.consumers = self.consumers, {path: consumer for path, (_, consumer) in best.items()}
        changed = {path for path in before.keys() | best.keys() if before.get(path) != self.consumers.get(path)}
        if (
            not self.whole
            and self._offered
            and self._slices.synced.is_set()
            and all(each.watch.synced.is_set() for each in self._bindings.values())
        ):
            self._whole.set()
            changed |= {path for fan in self._fans.values() for path in fan.paths}
        if changed:
            for fan in self._fans.values():
                fan.moved(changed)
            for note in list(self._listeners):
                note(changed)


class _Bindings:
    """Who has bound the export, as one endpoint says."""

    def __init__(self, export: Export, endpoint: str, name: str) -> None:
        self.named = True
        self._name = name
        self._home = endpoint.rpartition("/")[0].rpartition("/")[2]
        self.watch = Across(export.across(endpoint), APIBINDINGS, decode=_BINDING.decode, refused=REFUSED)
        self._tasks = (export.start(self.watch.run), export.start(functools.partial(self._tell, export)))

    @property
    def spent(self) -> bool:
        """True if it is followed no more: nobody names it, and nobody is behind it."""
        return not self.named and self.watch.synced.is_set() and not self.watch.objects

    def end(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _tell(self, export: Export) -> None:
        async for _ in self.watch.events():
            export.look_soon()

    def bound(self) -> Iterator[tuple[str, tuple[bool, str], str]]:
        """Path, what ranks this logical cluster among others of the same path, and its id. One that is on its way out
        comes after one that was made anew."""
        for (where, _), each in self.watch.objects.items():
            path = (each.metadata.annotations or {}).get(PATH, "")
            ours = each.spec.reference.export.name == self._name and each.status.home == self._home
            if ours and PATHS.fullmatch(path) and any(bound.group == GROUP for bound in each.status.bound):
                rank = (each.metadata.deletion_timestamp is None, each.metadata.creation_timestamp)
                yield path, rank, where.partition("/")[0]


class Consuming:
    """Chooses where requests of a workspace go: to the export where it is about our kinds, else where they did."""

    def __init__(self, export: Export, workspace: str) -> None:
        self.export = export
        self.workspace = workspace

    def base(self, method: str, path: str) -> str:
        """See `Route`."""
        if _OURS.match(path) is None:
            return ""
        return self.export.url(self.export.consumer(self.workspace), method)


def follow(
    client: Client,
    resource: Resource,
    *,
    decode: Callable[[bytes], T],
    refused: float = 30.0,
    on_error: Callable[[KubeError], None] | None = None,
) -> Informer[T]:
    """An informer of one of our kinds in a workspace: one of its own, or its part of that of all consumers."""
    route = client.route
    if isinstance(route, Consuming):
        return Portion(route.export.fan(resource), route.workspace, client, decode, on_error)
    return Informer(client, resource, decode=decode, refused=refused, on_error=on_error)


async def _going_on(run: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await run()
        except Exception:
            log.exception("a watch across workspaces broke, and begins again")
        await asyncio.sleep(AGAIN)
