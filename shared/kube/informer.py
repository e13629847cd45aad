"""The informer: a cache that follows one collection, and the changes to it.

It lists in pages, then watches from that version. What goes wrong is put right here: an expired version is listed anew,
a broken, silent or garbled stream is opened again from where it was, and a server that fails is given time.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self

import msgspec

from shared.aio.backoff import backoff
from shared.kube.client import PAGE_SIZE, Bounds, Client
from shared.kube.errors import MALFORMED, ApiError, KubeError, TooLarge, Unreachable, from_event
from shared.kube.resources import Resource
from shared.kube.subscription import Change, Key, Subscription

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    T = TypeVar("T", default=dict[str, Any])
else:  # the default is for the type checker: plain dicts where no `decode` is given
    from typing import TypeVar

    T = TypeVar("T")

logger = logging.getLogger(__name__)

_FIRST_PAUSE = 0.25  # seconds; of each pause, a random part ("full jitter")
_LONGEST_PAUSE = 30.0
_SETTLED = 20.0  # seconds after which a watch counts as having worked; more than a request may take
_AWAY = 5.0  # between two looks at a kind that was served and is not any more
_LONGEST_RETRY_AFTER = 300.0  # seconds; what a server asks for beyond this is not believed

# What a `decode` may raise for an object that it cannot use.
_UNUSABLE = (*MALFORMED, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class Informer(Generic[T]):
    """Follows `resource` in one namespace, or in all of them.

        async with Informer(client, PLACEMENTS) as placements:
            async for change in placements.events(): ...

    `objects` is the cache, `synced` is set once it has been complete, `tried` once it has been or could not be read,
    `error` says why it is not followed just now.
    What is cached stays, whatever the error: a 403 or 404 does not mean that the objects are gone. Not for a view over
    many logical clusters (`/clusters/*`): keys are unique in one workspace only. `shared.hub.fan` has that.
    """

    def __init__(
        self,
        client: Client,
        resource: Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        decode: Callable[[bytes], T] | None = None,
        idle: float = 90.0,
        watch_for: float = 300.0,
        refused: float = 30.0,
        page_size: int = PAGE_SIZE,
        limit: Bounds | None = None,
        metadata: bool = False,
        on_error: Callable[[KubeError], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Times are in seconds.

        decode: makes an object out of its JSON: a msgspec decoder, or a projection that keeps only what is needed. What
            it refuses with an exception is logged and left as it was. It never returns None.
        idle: the longest silence of a watch. Bookmarks come every minute, so more than that is a dead connection.
        watch_for: how long the server may serve one watch (up to twice that, at random).
        refused: the pause after a 401, 403 or 404 that comes twice, at most: waiting does not cure it, so it is long.
        limit: what is taken of a server that is not trusted: of each list, and objects in the cache. Beyond it the
            collection counts as unreachable.
        metadata: of each object, no more than its metadata comes, where the server can leave out the rest.
        on_error: hears of every failure. What it raises ends the informer, and is raised by `run`.
        clock, chance (0..1) and sleep: injected by tests.
        """
        self.objects: dict[Key, T] = {}
        self.synced = asyncio.Event()
        self.tried = asyncio.Event()
        self.error: KubeError | None = None
        self.last_contact = clock()
        self._client = client
        self._resource = resource
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._decode: Callable[[bytes], Any] = decode or _plain(resource)
        self._idle = idle
        self._watch_for = watch_for
        self._refused = refused
        self._page_size = page_size
        self._limit = limit
        self._metadata = metadata
        self._on_error = on_error
        self._clock = clock
        self._chance = chance
        self._sleep = sleep
        self._attempts = 0  # in a row that came to nothing
        self._version = ""  # where the next watch begins; empty: list first
        self._versions: dict[Key, str] = {}
        self._subscriptions: set[Subscription[T]] = set()
        self._task: asyncio.Task[None] | None = None
        self._ended = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.run(), name=f"informer {self._resource.name}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.result()

    async def events(self) -> AsyncGenerator[Change[T], None]:
        """Changes, beginning with an Added for each object that is there already. Ends when the informer ends.

        At most one change per object waits, however slow the subscriber is. Subscribers do not wait for each other.
        """
        subscription = Subscription(self.objects)
        if self.synced.is_set():
            subscription.note_synced()
        if self._ended:
            subscription.end()
        self._subscriptions.add(subscription)
        try:
            while (change := await subscription.next()) is not None:
                yield change
        finally:
            self._subscriptions.discard(subscription)

    async def run(self) -> None:
        """Follow the collection until cancelled. `async with` does this in a task of its own.

        What ends it is raised as it is: a bug of `decode`, or what `on_error` makes of a failure.
        """
        try:
            await self._follow()
        finally:
            self._ended = True
            for subscription in self._subscriptions:
                subscription.end()

    async def _follow(self) -> None:
        while True:
            error: KubeError | None = None
            opened = self._clock()
            try:
                if not self._version:
                    await self._list()
                    opened = self._clock()
                await self._watch()
            except KubeError as caught:
                error = caught
            delay = self._delay(error, self._clock() - opened)
            if error is not None:
                self._report(error, delay)
            if delay > 0:
                await self._sleep(delay)

    def _delay(self, error: KubeError | None, lived: float) -> float:
        """Seconds to wait after a watch that ended with `error`, or cleanly, `lived` seconds after it was asked for.

        What did not live long counts as a failure however it ended: a server that closes each watch at once, or answers
        each with 410, must not be asked in a loop.
        """
        if lived >= _SETTLED:
            self._attempts = 0
        self._attempts += 1
        first = self._attempts == 1
        delay = backoff(self._attempts, first=_FIRST_PAUSE, most=_LONGEST_PAUSE) * self._chance()
        if error is None:
            return 0.0 if first else delay
        if not isinstance(error, ApiError):
            return delay
        if error.gone:
            self._version = ""
            return 0.0 if first else delay
        if error.status in {401, 403, 404}:
            # What was served before and answers 404 is a CRD that is being replaced, or a server that begins.
            most = min(self._refused, _AWAY) if error.not_found and self.synced.is_set() else self._refused
            delay = min(delay, most) if first else most * (1 + self._chance()) / 2
        return max(delay, min(error.retry_after or 0.0, _LONGEST_RETRY_AFTER))

    def _report(self, error: KubeError, delay: float) -> None:
        level = logging.INFO if str(error) != str(self.error) else logging.DEBUG  # the same once, however often
        self.error = error
        self.tried.set()
        logger.log(level, "%s: %s; again in %.1f s", self._resource.name, error, delay)
        if self._on_error is not None:
            self._on_error(error)

    async def _list(self) -> None:
        found: set[Key] = set()
        version = ""
        pages = self._client.pages(
            self._resource,
            self._namespace,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            limit=self._page_size,
            bounds=self._limit,
            metadata=self._metadata,
            type=msgspec.Raw,
        )
        async with aclosing(pages):
            async for page in pages:
                self._contact()
                version = page.version
                found.update(self._put(*self._identify(raw), raw) for raw in page.items)
        for key in self.objects.keys() - found:
            self._remove(key)
        self._version = version
        self._complete()

    def _complete(self) -> None:
        """All that there was is in the cache now."""
        self.synced.set()
        self.tried.set()
        for subscription in self._subscriptions:
            subscription.note_synced()

    async def _watch(self) -> None:
        params = {
            "watch": True,
            "allowWatchBookmarks": True,
            "resourceVersion": self._version,
            # Spread out, so that watches opened together do not all end together.
            "timeoutSeconds": int(self._watch_for * (1 + self._chance())),
            "labelSelector": self._label_selector,
            "fieldSelector": self._field_selector,
        }
        path = self._resource.path(self._namespace)
        async with self._client.stream(path, params=params, idle=self._idle, metadata=self._metadata) as lines:
            self._contact()
            async for line in lines:
                self._contact()
                self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            event = _EVENT.decode(line)
        except MALFORMED as error:
            raise Unreachable(f"the watch of {self._resource.name} sent what is no event") from error
        if event.type == "ERROR":
            raise from_event(event.object)
        key, version = self._identify(event.object)
        if event.type == "DELETED":
            self._remove(key)
        elif event.type != "BOOKMARK":
            self._put(key, version, event.object)
        self._version = version or self._version

    def _identify(self, raw: msgspec.Raw) -> tuple[Key, str]:
        """The key of an object, and its version. Raises Unreachable for what is no object."""
        try:
            meta = _OBJECT.decode(raw).metadata
        except MALFORMED as error:
            raise Unreachable("the server sent what is no object") from error
        return (meta.namespace, meta.name), meta.version

    def _put(self, key: Key, version: str, raw: msgspec.Raw) -> Key:
        if key in self.objects and self._versions[key] == version:
            return key  # listed again, unchanged
        try:
            obj = self._decode(bytes(raw))
        except _UNUSABLE as error:
            logger.warning("%s %s/%s is not usable: %s", self._resource.name, *key, error)
            return key
        old = self.objects.get(key)
        if old is None and self._limit is not None and len(self.objects) >= self._limit.objects:
            raise TooLarge(f"there are more {self._resource.name} than the {self._limit.objects} that we take")
        self.objects[key] = obj
        self._versions[key] = version
        for subscription in self._subscriptions:
            subscription.note(key, old)
        return key

    def _remove(self, key: Key) -> None:
        old = self.objects.pop(key, None)
        self._versions.pop(key, None)
        if old is not None:
            for subscription in self._subscriptions:
                subscription.note(key, old)

    def _contact(self) -> None:
        self.last_contact = self._clock()
        self.error = None


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class Meta(msgspec.Struct, rename={"version": "resourceVersion"}):
    name: str = ""
    namespace: str = ""
    version: str = ""


class _Object(msgspec.Struct):
    metadata: Meta


_EVENT = msgspec.json.Decoder(_Event)
_OBJECT = msgspec.json.Decoder(_Object)


def _plain(resource: Resource) -> Callable[[bytes], Any]:
    """Objects as dicts. Items of a list lack apiVersion and kind where the kind is a built-in one."""
    decoder = msgspec.json.Decoder(dict[str, Any])

    def decode(raw: bytes) -> dict[str, Any]:
        obj = decoder.decode(raw)
        obj.setdefault("apiVersion", resource.api_version)
        if resource.kind:
            obj.setdefault("kind", resource.kind)
        return obj

    return decode
