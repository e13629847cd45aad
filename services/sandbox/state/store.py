"""All objects in memory: one revision counter, immutable entries of encoded JSON, watchers and a replay log.

Knows nothing of Kubernetes beyond `metadata`: what a change of some kind means to the server itself is an effect, which
runs at once. Everything but waiting for events is synchronous, so
a caller that reads and writes without awaiting in between needs no lock.
"""

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple

import msgspec

from services.sandbox.errors import ApiError, Document, expired

encode = msgspec.json.Encoder().encode
EventType = Literal["ADDED", "MODIFIED", "DELETED"]
EVERY = "*"  # in place of a cluster: all of them


class Key(NamedTuple):
    """Where an object lives; `resource` is the plural qualified by its group, as in `deployments.apps`."""

    cluster: str
    resource: str
    namespace: str
    name: str


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One version of one object. `body` is its JSON, which always begins with `{"apiVersion":"`."""

    key: Key
    version: int
    uid: str
    labels: dict[str, str]
    owners: tuple[str, ...]
    body: bytes

    def document(self) -> Any:
        """A fresh copy of the object, the caller's to change."""
        return msgspec.json.decode(self.body)


Sees = Callable[[Key], bool]


class Event(msgspec.Struct, frozen=True, gc=False):
    """A change; `previous` is the entry that it replaced, none for ADDED."""

    type: EventType
    entry: Entry
    previous: Entry | None


Effect = Callable[[Event], None]


class WatchClosed(Exception):
    """The watch is over: `error` says why, or is none where the cluster just went away."""

    def __init__(self, error: ApiError | None) -> None:
        super().__init__(str(error or "closed"))
        self.error = error


class Watcher:
    """The events of some resources of one cluster (or of all), in order, for one consumer."""

    __slots__ = ("_closed", "_events", "_limit", "_namespace", "_sees", "_wakeup", "scopes")

    def __init__(self, scopes: tuple[tuple[str, str], ...], namespace: str, limit: int, sees: Sees | None) -> None:
        self.scopes = scopes
        self._namespace = namespace
        self._sees = sees
        self._limit = limit
        self._events: list[Event] = []
        self._wakeup: asyncio.Future[None] | None = None
        self._closed: WatchClosed | None = None

    def offer(self, event: Event) -> None:
        """Queue an event; a consumer that fell `limit` events behind is cut off and must list again."""
        key = event.entry.key
        if (
            self._closed
            or (self._namespace and key.namespace != self._namespace)
            or (self._sees and not self._sees(key))
        ):
            return
        if len(self._events) >= self._limit:
            self.close(expired("the watch fell too far behind; list again"))
            return
        self._events.append(event)
        self._wake()

    def close(self, error: ApiError | None = None) -> None:
        """End the watch; events not yet taken are lost if there was an error."""
        if not self._closed:
            self._closed = WatchClosed(error)
            self._wake()

    def _wake(self) -> None:
        if self._wakeup and not self._wakeup.done():
            self._wakeup.set_result(None)

    async def next(self, timeout: float) -> list[Event]:
        """All events that wait, or none after `timeout` seconds. Raises WatchClosed at the end."""
        if not self._events and not self._closed and timeout > 0:
            loop = asyncio.get_running_loop()
            wakeup = self._wakeup = loop.create_future()
            timer = loop.call_later(timeout, self._wake)
            try:
                await wakeup
            finally:
                timer.cancel()
                self._wakeup = None
        if self._closed and (self._closed.error or not self._events):
            raise self._closed
        events, self._events = self._events, []
        return events


def _position(entry: Entry) -> tuple[str, str, str]:
    key = entry.key
    return key.cluster, key.namespace, key.name


def _scopes(event: Event) -> tuple[tuple[str, str], tuple[str, str]]:
    """Under which watchers of this event are found."""
    key = event.entry.key
    return (key.cluster, key.resource), (EVERY, key.resource)


class Store:
    """See the module. `replay` and `queue` bound the events kept for replay, and per watcher; `effects` follow each
    change of an object of their resource."""

    def __init__(self, *, first_revision: int = 1, replay: int = 10_000, queue: int = 10_000, pages: int = 64) -> None:
        self.revision = first_revision
        self._oldest = first_revision  # a watch from before this cannot be replayed
        self._log: deque[Event] = deque()
        self._replay = replay
        self._queue = queue
        self._tables: dict[tuple[str, str], dict[tuple[str, str], Entry]] = {}
        self._owned: dict[tuple[str, str], set[Key]] = {}
        self._watchers: dict[tuple[str, str], set[Watcher]] = {}
        self._snapshots: dict[tuple[str, str, str, int], list[Entry]] = {}
        self._pages = pages
        self.effects: dict[str, Effect] = {}

    def get(self, key: Key) -> Entry | None:
        table = self._tables.get(key[:2])
        return table.get(key[2:]) if table else None

    def entries(self, cluster: str, resource: str, namespace: str = "") -> list[Entry]:
        """Entries in the order of cluster, namespace and name; of one namespace or (empty) of all."""
        if cluster == EVERY:
            clusters = sorted(scope[0] for scope in self._tables if scope[1] == resource)
            return [entry for each in clusters for entry in self.entries(each, resource, namespace)]
        table = self._tables.get((cluster, resource), {})
        return [table[key] for key in sorted(table) if not namespace or key[0] == namespace]

    def holds(self, cluster: str, resource: str) -> bool:
        """True if there is any object of a resource of a cluster."""
        return (cluster, resource) in self._tables

    def page(
        self, cluster: str, resource: str, namespace: str, version: int, after: tuple[str, str, str] | None
    ) -> list[Entry]:
        """The list as it was at `version`, from after a cluster, namespace and name on. Raises ApiError 410 once that
        is forgotten."""
        scope = (cluster, resource, namespace, version)
        snapshot = self._snapshots.pop(scope, None)
        if snapshot is None:
            if version != self.revision:
                raise expired("The provided continue parameter is too old; list again without it")
            snapshot = self.entries(cluster, resource, namespace)
        self._snapshots[scope] = snapshot  # the most recently used is last
        if len(self._snapshots) > self._pages:
            del self._snapshots[next(iter(self._snapshots))]
        start = bisect_right(snapshot, after, key=_position) if after else 0
        return snapshot[start:]

    def contents(self, cluster: str, namespace: str = "") -> Iterator[Entry]:
        """Everything of a cluster, or of one namespace of it."""
        tables = [table for scope, table in self._tables.items() if scope[0] == cluster]
        for table in tables:
            yield from [entry for entry in table.values() if not namespace or entry.key.namespace == namespace]

    def dependents(self, cluster: str, uid: str) -> list[Entry]:
        """Entries whose ownerReferences name this uid."""
        keys = sorted(self._owned.get((cluster, uid), ()))
        return [entry for key in keys if (entry := self.get(key))]

    def entry(self, key: Key, document: Document, version: int) -> Entry:
        """The entry that this document would be at a version; stamps the version into the document."""
        metadata = document["metadata"]
        metadata["resourceVersion"] = str(version)
        owners = tuple({owner["uid"]: None for owner in metadata.get("ownerReferences") or ()})
        return Entry(key, version, metadata["uid"], metadata.get("labels") or {}, owners, encode(document))

    def put(self, key: Key, document: Document) -> Entry:
        """Write the next version of an object and tell the watchers."""
        previous = self.get(key)
        self.revision += 1
        entry = self.entry(key, document, self.revision)
        self._tables.setdefault(key[:2], {})[key[2:]] = entry
        self._own(previous, entry)
        self._publish(Event("MODIFIED" if previous else "ADDED", entry, previous))
        return entry

    def remove(self, key: Key, last: Any = None) -> Entry:
        """Take an object out and tell the watchers; the last entry carries the version of the removal, and what the
        object was at `last`, if that is not what it was before."""
        table = self._tables[key[:2]]
        previous = table.pop(key[2:])
        if not table:
            del self._tables[key[:2]]
        self.revision += 1
        entry = self.entry(key, last or previous.document(), self.revision)
        self._own(previous, None)
        self._publish(Event("DELETED", entry, previous))
        return entry

    def _own(self, previous: Entry | None, entry: Entry | None) -> None:
        """Keep the index of owners, by which dependents are found."""
        if (previous.owners if previous else ()) == (entry.owners if entry else ()):
            return
        if previous:
            for uid in previous.owners:
                owned = self._owned[previous.key.cluster, uid]
                owned.discard(previous.key)
                if not owned:
                    del self._owned[previous.key.cluster, uid]
        if entry:
            for uid in entry.owners:
                self._owned.setdefault((entry.key.cluster, uid), set()).add(entry.key)

    def _publish(self, event: Event) -> None:
        self._log.append(event)
        if len(self._log) > self._replay:
            self._oldest = self._log.popleft().entry.version
        for scope in _scopes(event):
            for watcher in tuple(self._watchers.get(scope, ())):
                watcher.offer(event)
        if effect := self.effects.get(event.entry.key.resource):
            effect(event)

    def watch(
        self,
        cluster: str,
        resources: Iterable[str],
        *,
        since: int | None = None,
        namespace: str = "",
        sees: Sees | None = None,
    ) -> Watcher:
        """Events after version `since` (now, by default) of what the watcher `sees`. Raises ApiError 410 where the log
        no longer reaches back, or was written by another run of the server."""
        scopes = tuple((cluster, resource) for resource in resources)
        watcher = Watcher(scopes, namespace, self._queue, sees)
        if since is not None and since != self.revision:
            if not self._oldest <= since <= self.revision:
                raise expired(f"too old resource version: {since} ({self._oldest})")
            missed: list[Event] = []
            for event in reversed(self._log):
                if event.entry.version <= since:
                    break
                if any(scope in scopes for scope in _scopes(event)):
                    missed.append(event)
            for event in reversed(missed):
                watcher.offer(event)
        for scope in scopes:
            self._watchers.setdefault(scope, set()).add(watcher)
        return watcher

    @property
    def watches(self) -> int:
        """How many watchers there are."""
        return len({watcher for watchers in self._watchers.values() for watcher in watchers})

    def unwatch(self, watcher: Watcher) -> None:
        """Forget a watcher whose consumer is gone."""
        for scope in watcher.scopes:
            watchers = self._watchers.get(scope, set())
            watchers.discard(watcher)
            if not watchers:
                self._watchers.pop(scope, None)

    def close_watches(self, cluster: str, resource: str = "", error: ApiError | None = None) -> None:
        """End the watches of a cluster, or those of one of its resources, and say why if that is an error."""
        for scope, watchers in self._watchers.items():
            if scope[0] == cluster and (not resource or scope[1] == resource):
                for watcher in watchers:
                    watcher.close(error)

    def forget(self) -> None:
        """What time does: pages and watches from before now have to begin anew."""
        self._snapshots.clear()
        self._log.clear()
        self._oldest = self.revision

    def drop(self, cluster: str) -> None:
        """Remove a cluster's content, telling its watchers before they are closed."""
        for entry in list(self.contents(cluster)):
            if self.get(entry.key):  # not yet taken along by another
                self.remove(entry.key)
        self.close_watches(cluster)
