"""Follows what decides which APIs the clusters serve, so that what is installed there later is seen at once."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import NamedTuple

from shared.kube.changes import ChangeWatch
from shared.kube.client import Client
from shared.kube.resources import APISERVICES, CRDS

log = logging.getLogger("moorage.discovery")

QUIET = 0.5
"""Seconds from a change until its cluster's APIs are read. Changes come in bursts, and what a server tells of its APIs
follows some hundredths of a second after them."""
PAUSE = 5.0
"""Least seconds between two readings of one cluster: it may change all the time."""


class _Followed(NamedTuple):
    client: Client
    task: asyncio.Task[None]


class ServedChanges:
    """The CustomResourceDefinitions and APIServices of clusters: a watch for each, which is all that it costs while
    nothing changes. Where we may not list them, it is tried again from time to time, and costs a request each time.
    """

    def __init__(self, *, most: int, refused: float) -> None:
        """Of at most so many clusters at a time; `refused`: seconds until what we may not list is asked for again."""
        self._most = most
        self._refused = refused
        self._followed: dict[str, _Followed] = {}

    async def follow(self, key: str, client: Client, changed: Callable[[], None]) -> None:
        """Call `changed` whenever a cluster may serve something else. That is so at first, too: nobody was looking."""
        known = self._followed.get(key)
        if known is not None and known.client is client:
            return
        await self.leave(key)
        if len(self._followed) < self._most:
            task = asyncio.create_task(self._run(key, client, changed), name=f"APIs of {key}")
            self._followed[key] = _Followed(client, task)

    async def leave(self, key: str) -> None:
        """Follow a cluster no more."""
        known = self._followed.pop(key, None)
        if known is not None:
            known.task.cancel()
            await asyncio.wait([known.task])

    async def close(self) -> None:
        """Follow nothing any more."""
        for key in list(self._followed):
            await self.leave(key)

    async def _run(self, key: str, client: Client, changed: Callable[[], None]) -> None:
        try:
            news = asyncio.Event()
            async with contextlib.AsyncExitStack() as stack:
                for kind in (CRDS, APISERVICES):
                    await stack.enter_async_context(ChangeWatch(client, kind, news, refused=self._refused))
                while True:
                    await news.wait()
                    await asyncio.sleep(QUIET)
                    news.clear()
                    changed()
                    await asyncio.sleep(PAUSE - QUIET)
        except Exception:  # its APIs are read by time, as those of others
            log.exception("APIs are not followed", extra={"target": key})
