"""A process from start to end: it runs until SIGTERM or SIGINT, and says in one line why it cannot go on."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from shared.process.logs import toggle_debug
from shared.process.memory import keep_large_blocks_apart

log = logging.getLogger("moorage.process")


class StartError(Exception):
    """The process cannot start; the message is the one line that the user sees."""


def run_until_stopped(work: Callable[[asyncio.Event], Awaitable[None]], *expected: type[Exception]) -> int:
    """Run `work` on uvloop; it ends when the event that it is given is set, which SIGTERM and SIGINT do.

    Returns the exit code: 0 when it ended by itself, 1 when an `expected` failure ended it, a StartError or an OSError,
    which is then one log line. Everything else is a bug, and raised.
    """
    import uvloop

    keep_large_blocks_apart()
    code = 0
    failures: tuple[type[Exception], ...] = (StartError, OSError, *expected)
    try:
        uvloop.run(_with_signals(work))
    except* failures as group:
        code = 1
        for error in _leaves(group):
            log.error("cannot go on: %s", error)  # noqa: TRY400 - one clear line; the trace would bury it
    return code


async def _with_signals(work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, toggle_debug)
    await work(stop)


def _leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
