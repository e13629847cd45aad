"""A gate for work of which there is too much at once, or that would hold up the event loop: owners in turn."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.aio.turns import SHARE, Turns


class Gate:
    """Lets so many pieces of work through at a time; between two of them the event loop sees to all else.

    Whoever waits behind another owner's burst waits for one piece of it, and where there are several places, one is
    kept free for whoever has none.
    """

    def __init__(self, places: int = 1) -> None:
        self._turns: Turns[tuple[str, asyncio.Future[None]]] = Turns(places, share=SHARE if places > 1 else None)

    @asynccontextmanager
    async def through(self, owner: str) -> AsyncIterator[None]:
        """Wait for the owner's turn, which lasts until the block ends."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._turns.add(owner, (owner, turn))
        self._open()
        try:
            await turn
            yield
        finally:
            if turn.done() and not turn.cancelled():  # it had its turn; the next one is a pass of the loop later
                loop.call_soon(self._leave, owner)

    def _leave(self, owner: str) -> None:
        self._turns.done(owner)
        self._open()

    def _open(self) -> None:
        """Let the next ones through, while there are places; those who wait no longer are passed over."""
        while (following := self._turns.next()) is not None:
            owner, turn = following
            if turn.cancelled():
                self._turns.done(owner)
            else:
                turn.set_result(None)
