"""Follows that something changes in a collection, and keeps nothing of it."""

import asyncio
from contextlib import aclosing

import msgspec

from shared.kube.client import Bounds, Client
from shared.kube.informer import Informer
from shared.kube.resources import Resource
from shared.kube.subscription import Key

_FIRST_PAGE = Bounds(objects=10, bytes=4 << 20)  # one object is asked for; servers need not heed that


class ChangeWatch(Informer[None]):
    """An informer for those who read elsewhere what there is: sets `changed` whenever it may be something else.

    That is so with each event, and each time that a list was needed to begin a watch: what was read before may be
    outdated. Only metadata comes over the wire. Whoever acts on `changed` clears it.
    """

    def __init__(self, client: Client, resource: Resource, changed: asyncio.Event, *, refused: float) -> None:
        """`refused` as for any informer."""
        super().__init__(client, resource, refused=refused, metadata=True)
        self._changed = changed

    async def _list(self) -> None:
        """Of the list, its version is all that is needed."""
        pages = self._client.pages(self._resource, limit=1, bounds=_FIRST_PAGE, metadata=True, type=msgspec.Raw)
        async with aclosing(pages):
            self._version = (await anext(pages)).version
        self._contact()
        self.synced.set()
        self._changed.set()

    def _put(self, key: Key, version: str, raw: msgspec.Raw) -> Key:  # noqa: ARG002 - nothing of it is kept
        self._changed.set()
        return key

    def _remove(self, key: Key) -> None:  # noqa: ARG002 - nothing of it was kept
        self._changed.set()
