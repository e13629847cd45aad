"""What several need at once is done once: read for all who ask, or kept for a moment."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


@dataclass(eq=False)
class _Group(Generic[T]):
    """Those who ask for one thing, and how many more are on their way to."""

    expected: int = 0
    reading: bool = False
    waiting: "asyncio.Future[T] | None" = None
    timer: asyncio.TimerHandle | None = None
    impatient: bool = False


class JointReads(Generic[K, T]):
    """Reads one thing for all who ask at about the same time, and never gives an answer from before the question.

    Of each key at most one read is under way; who asks meanwhile shares the next one. It begins when all who are on
    their way (`joining`) have asked as well, but no later than `patience` seconds after the first did.
    """

    def __init__(self, read: Callable[[K], Awaitable[T]], *, patience: float = 0.05) -> None:
        self._read = read
        self._patience = patience
        self._groups: dict[K, _Group[T]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @contextmanager
    def joining(self, key: K) -> Iterator[Callable[[], Awaitable[T]]]:
        """To be on one's way: gives what to ask with, once, and others wait for it until the block is left."""
        group, asked = self._group(key), False
        group.expected += 1

        async def ask() -> T:
            nonlocal asked
            assert not asked
            asked = True
            group.expected -= 1
            return await self.get(key)

        try:
            yield ask
        finally:
            if not asked:
                group.expected -= 1
                self._begin(key, group)

    async def get(self, key: K) -> T:
        """What is read from now on. Raises what reading raises."""
        group = self._group(key)
        if group.waiting is None:
            group.waiting = asyncio.get_running_loop().create_future()
            group.waiting.add_done_callback(_look_at)
        waiting = group.waiting
        if group.expected and group.timer is None:
            group.timer = asyncio.get_running_loop().call_later(self._patience, self._hurry, key, group)
        self._begin(key, group)
        return await asyncio.shield(waiting)  # whoever asked first may be cancelled; the others still want to know

    def _group(self, key: K) -> _Group[T]:
        return self._groups.setdefault(key, _Group())

    def _hurry(self, key: K, group: _Group[T]) -> None:
        group.impatient = True
        self._begin(key, group)

    def _begin(self, key: K, group: _Group[T]) -> None:
        if group.waiting is None:
            if not group.reading and not group.expected:
                self._groups.pop(key, None)
            return
        if group.reading or (group.expected and not group.impatient):
            return
        answer, group.waiting, group.reading = group.waiting, None, True
        if group.timer is not None:
            group.timer.cancel()
        group.timer, group.impatient = None, False
        task = asyncio.create_task(self._answer(key, group, answer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, key: K, group: _Group[T], answer: "asyncio.Future[T]") -> None:
        try:
            answer.set_result(await self._read(key))
        except asyncio.CancelledError:
            answer.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - it is raised where it was asked
            answer.set_exception(error)
        finally:
            group.reading = False
            self._begin(key, group)


@dataclass(eq=False)
class _Made(Generic[T]):
    task: "asyncio.Task[T]"
    until: float = field(default=float("inf"))


class Kept(Generic[K, T]):
    """What was made is kept for `seconds`, or until `limit` others were made; who asks while it is being made shares
    it. What could not be made is not kept.
    """

    def __init__(self, *, seconds: float, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._limit = limit
        self._clock = clock
        self._made: dict[K, _Made[T]] = {}  # the oldest first

    async def get(self, key: K, make: Callable[[], Awaitable[T]]) -> T:
        """What is kept, or made now. Raises what making it raises."""
        self._expire()
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = _Made(asyncio.ensure_future(_awaited(make)))
            made.task.add_done_callback(lambda task: self._done(key, made, task))
            while len(self._made) > self._limit:
                del self._made[next(iter(self._made))]
        return await asyncio.shield(made.task)

    def _done(self, key: K, made: _Made[T], task: "asyncio.Task[T]") -> None:
        made.until = self._clock() + self._seconds
        if (task.cancelled() or task.exception() is not None) and self._made.get(key) is made:
            del self._made[key]

    def _expire(self) -> None:
        now = self._clock()
        for key, made in list(self._made.items()):
            if now < made.until:
                break
            del self._made[key]


async def _awaited(make: Callable[[], Awaitable[T]]) -> T:
    return await make()


def _look_at(answer: "asyncio.Future[T]") -> None:
    """An error that nobody waits for any more is no news."""
    if not answer.cancelled():
        answer.exception()
