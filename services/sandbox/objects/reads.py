"""Get, list in pages, and watch, as JSON or as Tables."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from services.sandbox import errors
from services.sandbox.errors import ApiError, Document
from services.sandbox.objects import selectors
from services.sandbox.state.clusters import Address
from services.sandbox.state.store import Entry, Event, Store, WatchClosed, encode
from services.sandbox.wire import tables
from services.sandbox.wire.http import Request, Response

BOOKMARK_SECONDS = 10.0
MAX_WATCH_SECONDS = 3600
Match = Callable[[Entry], bool]


def as_version(body: bytes, api_version: str) -> bytes:
    """The encoded object under another of its versions, which differ in nothing else (conversion strategy None)."""
    prefix = b'{"apiVersion":"' + api_version.encode() + b'"'
    return body if body.startswith(prefix) else prefix + body[body.index(b'"', 15) + 1 :]


def matching(at: Address, request: Request) -> Match:
    """The request's selectors as one predicate. Raises ApiError 400."""
    labels = selectors.labels(request.query.get("labelSelector", ""))
    fields = selectors.fields(request.query.get("fieldSelector", ""), at.version.selectable, custom=at.resource.custom)

    def matches(entry: Entry) -> bool:
        return (labels is None or labels(entry.labels)) and (fields is None or fields(entry.document()))

    return matches


def selected_name(request: Request) -> str:
    """The one name that a field selector asks for, by which RBAC decides too; empty where there is none."""
    path, _, name = request.query.get("fieldSelector", "").partition("=")
    return name.removeprefix("=") if path == "metadata.name" and "," not in name else ""


def wants_table(request: Request) -> bool:
    return "as=Table" in request.headers.get("accept", "")


def _bodies(request: Request, at: Address, entries: list[Entry]) -> list[bytes]:
    """Each object as it is asked for: whole, in the version of the path, or its metadata alone."""
    api_version, since = at.api_version, at.resource.since
    if not wants_metadata(request):
        return [as_version(e.body if e.version > since else _defaulted(at, e), api_version) for e in entries]
    head = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
    return [encode({**head, "metadata": entry.document()["metadata"]}) for entry in entries]


def _defaulted(at: Address, entry: Entry) -> bytes:
    """An object that was stored before its kind had the schema of today."""
    document = entry.document()
    at.version.schema.conform(document)
    return encode(document)


def wants_metadata(request: Request) -> bool:
    return "as=PartialObjectMetadata" in request.headers.get("accept", "")


def _table(request: Request, at: Address, entries: list[Entry], metadata: Document, *, head: bool = True) -> bytes:
    documents = [msgspec.json.decode(as_version(e.body, at.api_version)) for e in entries]
    include = request.query.get("includeObject", "Metadata")
    return encode(
        tables.table(documents, at.version, datetime.now(UTC), metadata, include, head=head, custom=at.resource.custom)
    )


def get(store: Store, at: Address, request: Request) -> Response:
    """One object. Raises ApiError 404."""
    entry = store.get(at.key)
    if entry is None or (at.cluster.sees and not at.cluster.sees(entry.key)):
        raise errors.not_found(at.resource.id, at.name)
    if wants_table(request):
        return Response(200, _table(request, at, [entry], {"resourceVersion": str(entry.version)}))
    return Response(200, _bodies(request, at, [entry])[0])


def select(store: Store, at: Address, matches: Match) -> list[Entry]:
    """All entries that are seen there and match."""
    return _seen(at, store.entries(at.cluster.name, at.resource.id, at.namespace), matches)


def _seen(at: Address, entries: list[Entry], matches: Match) -> list[Entry]:
    sees = at.cluster.sees
    return [entry for entry in entries if (sees is None or sees(entry.key)) and matches(entry)]


def list_(store: Store, at: Address, request: Request) -> Response:
    """A list, or with `limit` a page of it; the pages of one list show one version. Raises ApiError 400 or 410."""
    matches, limit = matching(at, request), request.number("limit")
    metadata: Document = {"resourceVersion": str(store.revision)}
    token = request.query.get("continue", "")
    if limit or token:
        version, after = _read_token(token) if token else (store.revision, None)
        metadata["resourceVersion"] = str(version)
        remaining = _seen(at, store.page(*at.key[:3], version, after), matches)
        entries = remaining[:limit] if limit else remaining
        if len(entries) < len(remaining):
            metadata["continue"] = _token(version, entries[-1])
            if not request.query.get("labelSelector") and not request.query.get("fieldSelector"):
                metadata["remainingItemCount"] = len(remaining) - len(entries)
    else:
        entries = select(store, at, matches)
    if wants_table(request):
        return Response(200, _table(request, at, entries, metadata))
    kind, api_version = at.resource.list_name, at.api_version
    if wants_metadata(request):
        kind, api_version = "PartialObjectMetadataList", "meta.k8s.io/v1"
    head = encode({"kind": kind, "apiVersion": api_version, "metadata": metadata})
    items = b",".join(_bodies(request, at, entries))
    return Response(200, head[:-1] + b',"items":[' + items + b"]}")


def _token(version: int, last: Entry) -> str:
    return base64.urlsafe_b64encode(encode([version, last.key.cluster, last.key.namespace, last.key.name])).decode()


def _read_token(token: str) -> tuple[int, tuple[str, str, str]]:
    try:
        version, *after = msgspec.json.decode(base64.urlsafe_b64decode(token), type=tuple[int, str, str, str])
    except (ValueError, msgspec.MsgspecError) as error:
        raise errors.bad_request("continue key is not valid") from error
    return version, (after[0], after[1], after[2])


def watch(store: Store, at: Address, request: Request) -> Response:
    """A stream of events. What goes wrong once it has begun is an event of type ERROR, as in Kubernetes."""
    since = request.number("resourceVersion")
    request.number("timeoutSeconds")
    return Response(200, stream=_events(store, at, request, matching(at, request), since))


async def _events(store: Store, at: Address, request: Request, matches: Match, since: int) -> AsyncIterator[bytes]:
    deadline = asyncio.get_running_loop().time() + (request.number("timeoutSeconds") or MAX_WATCH_SECONDS)
    bookmarks = request.flag("allowWatchBookmarks")
    frame = _Frames(at, request)
    initial = request.flag("sendInitialEvents") or not since
    try:
        scope = at.cluster.name, [at.resource.id]
        watcher = store.watch(*scope, since=since or None, namespace=at.namespace, sees=at.cluster.sees)
    except ApiError as error:
        yield frame.error(error)
        return
    try:
        if initial:
            lines = [frame.event("ADDED", entry) for entry in select(store, at, matches)]
            if request.flag("sendInitialEvents"):
                lines.append(frame.bookmark(store.revision, initial=True))
            yield b"".join(lines)
        while True:
            left = deadline - asyncio.get_running_loop().time()
            events = await watcher.next(min(left, BOOKMARK_SECONDS))
            if lines := [line for event in events if (line := _line(frame, event, matches))]:
                yield b"".join(lines)
            elif bookmarks and not events:
                yield frame.bookmark(store.revision)
            if asyncio.get_running_loop().time() >= deadline:
                return
    except WatchClosed as closed:
        if closed.error:
            yield frame.error(closed.error)
    finally:
        store.unwatch(watcher)


def _line(frame: "_Frames", event: Event, matches: Match) -> bytes | None:
    """The event as seen through the selector: what enters it is ADDED, what leaves it is DELETED."""
    now = event.type != "DELETED" and matches(event.entry)
    before = event.previous is not None and matches(event.previous)
    if now:
        return frame.event("MODIFIED" if before else "ADDED", event.entry)
    if not before or event.previous is None:
        return None
    if event.type == "DELETED":
        return frame.event("DELETED", event.entry)
    left = event.previous.document()  # as it was when it still matched, at the version at which it left
    left["metadata"]["resourceVersion"] = str(event.entry.version)
    return frame.event("DELETED", msgspec.structs.replace(event.entry, body=encode(left)))


class _Frames:
    """Encodes watch events for one request."""

    def __init__(self, at: Address, request: Request) -> None:
        self._at = at
        self._request = request
        self._table = wants_table(request)
        self._head = True  # the first Table of a stream alone carries the columns

    def event(self, kind: str, entry: Entry) -> bytes:
        if self._table:
            body = _table(self._request, self._at, [entry], {"resourceVersion": str(entry.version)}, head=self._head)
            self._head = False
        else:
            (body,) = _bodies(self._request, self._at, [entry])
        return b'{"type":"' + kind.encode() + b'","object":' + body + b"}\n"

    def bookmark(self, version: int, *, initial: bool = False) -> bytes:
        metadata: Document = {"resourceVersion": str(version), "creationTimestamp": None}
        if initial:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        kind = "Table" if self._table else self._at.resource.kind
        api_version = "meta.k8s.io/v1" if self._table else self._at.api_version
        marker: Any = {"kind": kind, "apiVersion": api_version, "metadata": metadata}
        if self._table:
            marker |= {"columnDefinitions": [], "rows": []}
        return encode({"type": "BOOKMARK", "object": marker}) + b"\n"

    @staticmethod
    def error(error: ApiError) -> bytes:
        return encode({"type": "ERROR", "object": error.status()}) + b"\n"
