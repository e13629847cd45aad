"""One watch of a kind across all workspaces that have bound the export, shared out among those who follow one of them.

Whoever follows a workspace gets an informer as any other. What comes for workspaces that nobody follows yet is kept, as
it came: the watch of a new consumer's objects may be ahead of the one that says whose consumer it is.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import msgspec

from shared.kube.client import Client
from shared.kube.errors import MALFORMED, KubeError, Unreachable
from shared.kube.informer import Informer
from shared.kube.resources import Resource
from shared.kube.subscription import Key

T = TypeVar("T")

CLUSTER: Final = "kcp.io/cluster"
"""The annotation by which kcp says of which logical cluster an object is."""
KEPT: Final = 64 << 20
"""Bytes of objects that are kept of workspaces which nobody follows; what is beyond is listed again if need be."""
BEGIN_AGAIN: Final = 0.25  # seconds from when something is to be listed again until it is: it may be much at once
REFUSED: Final = 5.0
"""Seconds between two tries where kcp refuses us: an export that is new, or rights that are, take moments."""

_SHARED = b""
"""Stands for an object that somebody who follows its workspace has."""


class LogicalCluster(NamedTuple):
    """Behind a workspace that has bound the export: the endpoint that serves it, and its id there."""

    endpoint: str
    cluster: str


class Consumers(Protocol):
    """Who has bound the export, by path, and the way to them."""

    @property
    def consumers(self) -> Mapping[str, LogicalCluster]: ...

    def missing(self, workspace: str) -> KubeError:
        """Why there is nothing of a workspace that is not among them."""
        ...

    def across(self, endpoint: str) -> Client:
        """A client on all of them that an endpoint serves."""
        ...

    def start(self, run: Callable[[], Awaitable[None]]) -> "asyncio.Task[None]":
        """Run something until it is cancelled."""
        ...


class _Meta(msgspec.Struct, rename={"version": "resourceVersion"}):
    name: str = ""
    namespace: str = ""
    version: str = ""
    annotations: dict[str, str] | None = None


class _Object(msgspec.Struct):
    metadata: _Meta


_OBJECT = msgspec.json.Decoder(_Object)


class Across(Informer[T]):
    """An informer over all workspaces of an endpoint: the namespace of a key has the id of the logical cluster before
    it, `<id>/<namespace>`."""

    def _identify(self, raw: msgspec.Raw) -> tuple[Key, str]:
        try:
            meta = _OBJECT.decode(raw).metadata
        except MALFORMED as error:
            raise Unreachable("the server sent what is no object") from error
        return (f"{(meta.annotations or {}).get(CLUSTER, '')}/{meta.namespace}", meta.name), meta.version


class Portion(Informer[T]):
    """The part of a fan that is one workspace's. See `Informer`, but for who asks: the fan does, for all of them."""

    def __init__(
        self,
        fan: "Fan",
        path: str,
        client: Client,
        decode: Callable[[bytes], T] | None,
        on_error: Callable[[KubeError], None] | None,
    ) -> None:
        super().__init__(client, fan.resource, decode=decode, on_error=on_error)
        self.path = path
        self.consumer: LogicalCluster | None = None
        self._fan = fan

    async def _follow(self) -> None:
        self._fan.join(self)
        try:
            await asyncio.Event().wait()
        finally:
            self._fan.part(self)

    def take(self, key: Key, version: str, raw: msgspec.Raw) -> None:
        """An object is there, or is another one now."""
        self._put(key, version, raw)

    def drop(self, key: Key) -> None:
        """An object is gone."""
        self._remove(key)

    def complete(self, keys: set[Key]) -> None:
        """All that there is was taken; these are it."""
        for key in self.objects.keys() - keys:
            self._remove(key)
        self._contact()
        self._complete()

    def fail(self, error: KubeError) -> None:
        """It is not followed just now."""
        self.error = error
        self.tried.set()
        if self._on_error is not None:
            self._on_error(error)

    def well(self) -> None:
        """It is followed again."""
        self._contact()


class _Shared(Across[bytes]):
    """The watch of one endpoint, for a fan."""

    def __init__(self, fan: "Fan", endpoint: str, client: Client) -> None:
        super().__init__(client, fan.resource, decode=bytes, refused=REFUSED, on_error=self._failed)
        self._fan = fan
        self._endpoint = endpoint
        self._of: dict[str, set[Key]] = {}  # by id: the keys of its objects, as they are in the cache here
        self._kept = 0

    def share(self, portion: "Portion[Any]") -> bool:
        """Give somebody all that there is of its workspace. False where that is to be listed again before."""
        assert portion.consumer is not None
        mine = self._of.get(portion.consumer.cluster, set())
        if not all(self.objects[key] for key in mine):
            return False
        for key in mine:
            raw = self.objects[key]
            self._kept -= len(raw)
            self.objects[key] = _SHARED
            portion.take(_plain(key), self._versions[key], msgspec.Raw(raw))
        if self.synced.is_set():
            portion.complete({_plain(key) for key in mine})
        return True

    def _put(self, key: Key, version: str, raw: msgspec.Raw) -> Key:
        if key in self.objects and self._versions[key] == version:
            return key  # listed again, unchanged
        cluster = _cluster(key)
        portions = self._fan.of(self._endpoint, cluster)
        self._kept -= len(self.objects.get(key, _SHARED))
        content = bytes(raw) if not portions and self._kept + len(bytes(raw)) <= KEPT else _SHARED
        self._kept += len(content)
        self.objects[key], self._versions[key] = content, version
        self._of.setdefault(cluster, set()).add(key)
        for portion in portions:
            portion.take(_plain(key), version, raw)
        return key

    def _remove(self, key: Key) -> None:
        self._kept -= len(self.objects.pop(key, _SHARED))
        self._versions.pop(key, None)
        cluster = _cluster(key)
        mine = self._of.get(cluster, set())
        mine.discard(key)
        if not mine:
            self._of.pop(cluster, None)
        for portion in self._fan.of(self._endpoint, cluster):
            portion.drop(_plain(key))

    def _complete(self) -> None:
        super()._complete()
        for portion in self._fan.behind(self._endpoint):
            assert portion.consumer is not None
            portion.complete({_plain(key) for key in self._of.get(portion.consumer.cluster, ())})

    def _failed(self, error: KubeError) -> None:
        for portion in self._fan.behind(self._endpoint):
            portion.fail(error)

    def _contact(self) -> None:
        if self.error is not None:
            for portion in self._fan.behind(self._endpoint):
                portion.well()
        super()._contact()


class Fan:
    """Follows one of our kinds at every endpoint that has a workspace which somebody follows."""

    def __init__(self, export: Consumers, resource: Resource) -> None:
        self.resource = resource
        self._export = export
        self._portions: dict[str, set[Portion[Any]]] = {}  # by path
        self._placed: dict[LogicalCluster, set[Portion[Any]]] = {}
        self._watches: dict[str, tuple[_Shared, asyncio.Task[None]]] = {}  # by endpoint
        self._again: dict[str, asyncio.TimerHandle] = {}

    @property
    def paths(self) -> set[str]:
        """The workspaces that somebody follows."""
        return set(self._portions)

    def of(self, endpoint: str, cluster: str) -> set[Portion[Any]]:
        """Who follows this logical cluster."""
        return self._placed.get(LogicalCluster(endpoint, cluster), set())

    def behind(self, endpoint: str) -> list[Portion[Any]]:
        """Who follows a workspace of this endpoint."""
        return [each for consumer, placed in self._placed.items() if consumer.endpoint == endpoint for each in placed]

    def join(self, portion: Portion[Any]) -> None:
        """Somebody follows a workspace from now on."""
        self._portions.setdefault(portion.path, set()).add(portion)
        self._place(portion)

    def part(self, portion: Portion[Any]) -> None:
        """And no more."""
        self._leave(portion)
        self._portions[portion.path].discard(portion)
        if not self._portions[portion.path]:
            del self._portions[portion.path]

    def moved(self, paths: set[str]) -> None:
        """These workspaces are consumers now, are none any more, or are other ones."""
        for path in paths:
            for portion in list(self._portions.get(path, ())):
                self._place(portion)

    def leave(self, endpoint: str) -> None:
        """An endpoint is no more."""
        for portion in self.behind(endpoint):
            self._leave(portion)
        self._end(endpoint)

    def _end(self, endpoint: str) -> None:
        if (timer := self._again.pop(endpoint, None)) is not None:
            timer.cancel()
        if (found := self._watches.pop(endpoint, None)) is not None:
            found[1].cancel()

    def _place(self, portion: Portion[Any]) -> None:
        consumer = self._export.consumers.get(portion.path)
        if consumer is None:
            portion.fail(self._export.missing(portion.path))  # what it has stays: nobody said that it was deleted
        elif consumer != portion.consumer:
            self._leave(portion)
            portion.consumer = consumer
            self._placed.setdefault(consumer, set()).add(portion)
            if not self._watch(consumer.endpoint).share(portion):
                self._list_again(consumer.endpoint)
        else:
            portion.well()

    def _leave(self, portion: Portion[Any]) -> None:
        if portion.consumer is not None:
            placed = self._placed[portion.consumer]
            placed.discard(portion)
            if not placed:
                del self._placed[portion.consumer]
            portion.consumer = None

    def _watch(self, endpoint: str) -> _Shared:
        found = self._watches.get(endpoint)
        if found is None:
            watch = _Shared(self, endpoint, self._export.across(endpoint))
            found = self._watches[endpoint] = watch, self._export.start(watch.run)
        return found[0]

    def _list_again(self, endpoint: str) -> None:
        """List all anew shortly: something is to be had that somebody else was given, who follows it no more."""
        if endpoint not in self._again:
            loop = asyncio.get_running_loop()
            self._again[endpoint] = loop.call_later(BEGIN_AGAIN, self._begin_again, endpoint)

    def _begin_again(self, endpoint: str) -> None:
        self._again.pop(endpoint, None)
        self._end(endpoint)
        if self.behind(endpoint):
            self._watch(endpoint)


def _cluster(key: Key) -> str:
    return key[0].partition("/")[0]


def _plain(key: Key) -> Key:
    return key[0].partition("/")[2], key[1]
