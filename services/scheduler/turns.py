"""Whose message is decided next, so that no tenant waits behind another's burst."""

import asyncio
from collections import OrderedDict, deque


class Turns:
    """Higher priority first; within a priority one workspace after the other; within a workspace first come.

    Deciding does not await, so messages at hand would otherwise be decided in the order of arrival. It is fair among
    the messages that the worker has fetched, as many as the handler's concurrency.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, OrderedDict[str, deque[asyncio.Future[None]]]] = {}
        self._called = False

    async def take(self, workspace: str, priority: int) -> None:
        """Wait for one's turn: it lasts until the caller awaits something else."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.setdefault(priority, OrderedDict()).setdefault(workspace, deque()).append(turn)
        self._call()
        await turn

    def _call(self) -> None:
        if self._waiting and not self._called:
            self._called = True
            asyncio.get_running_loop().call_soon(self._give)

    def _give(self) -> None:
        """Give one turn, to the next who still wants it."""
        self._called = False
        while self._waiting:
            turn = self._next()
            if not turn.done():  # else its handler was cancelled
                turn.set_result(None)
                break
        self._call()

    def _next(self) -> "asyncio.Future[None]":
        priority = max(self._waiting)
        workspaces = self._waiting[priority]
        workspace, queue = workspaces.popitem(last=False)
        turn = queue.popleft()
        if queue:
            workspaces[workspace] = queue  # to the end of the line
        elif not workspaces:
            del self._waiting[priority]
        return turn
