"""Kinds that placements select and their workspace does not serve (yet)."""

import asyncio
import contextlib
from collections.abc import Callable

from shared.hub.resources import APIBINDINGS
from shared.kube.changes import ChangeWatch
from shared.kube.client import Client
from shared.kube.resources import CRDS

KindKey = tuple[str, str]
"""API version and kind."""

QUIET = 0.5  # seconds from a change until it is looked at: changes come in bursts
REFUSED = 300.0  # seconds until what we may not list is asked for again


class LackingKinds:
    """While some are lacking, what makes a workspace serve kinds is followed: its CustomResourceDefinitions, and in kcp
    its APIBindings.
    """

    def __init__(self, path: str, client: Client, served: Callable[[frozenset[KindKey]], None]) -> None:
        """`served` is told that those which are lacking may be served by now."""
        self._resources = (CRDS, APIBINDINGS) if path else (CRDS,)
        self._client = client
        self._served = served
        self._kinds: set[KindKey] = set()
        self._news = asyncio.Event()
        self._some = asyncio.Event()

    def add(self, kind: KindKey) -> None:
        """A kind was asked for and is not served."""
        self._kinds.add(kind)
        self._some.set()

    def discard(self, kind: KindKey) -> None:
        """A kind is served, or nobody asks for it any more."""
        if kind in self._kinds:
            self._kinds.discard(kind)
            self._news.set()

    async def run(self) -> None:
        """Follow what there is to follow, until cancelled."""
        while True:
            await self._some.wait()
            self._some.clear()
            async with contextlib.AsyncExitStack() as stack:
                for resource in self._resources:
                    await stack.enter_async_context(ChangeWatch(self._client, resource, self._news, refused=REFUSED))
                while self._kinds:
                    await self._news.wait()
                    await asyncio.sleep(QUIET)
                    self._news.clear()
                    if self._kinds:
                        self._served(frozenset(self._kinds))
