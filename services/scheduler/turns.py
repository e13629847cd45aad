"""Whose message is decided next, so that no tenant waits behind another's burst."""

import asyncio
import heapq
import itertools
from collections import OrderedDict


class WorkspaceTurns:
    """One workspace after the other; within a workspace higher priority first, then first come.

    A priority counts among the placements of one workspace: whoever could raise it above others' would stop them.
    Deciding does not await, so messages at hand would otherwise be decided in the order of arrival.
    """

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, list[tuple[int, int, asyncio.Future[None]]]] = OrderedDict()
        self._number = itertools.count()
        self._called = False

    async def take(self, workspace: str, priority: int) -> None:
        """Wait for one's turn: it lasts until the caller awaits something else."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        heapq.heappush(self._waiting.setdefault(workspace, []), (-priority, next(self._number), turn))
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
        workspace, queue = self._waiting.popitem(last=False)
        _, _, turn = heapq.heappop(queue)
        if queue:
            self._waiting[workspace] = queue  # to the end of the line
        return turn
