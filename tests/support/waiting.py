"""Waiting for a condition, with a bound."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

BOUND = 30.0  # seconds
PAUSE = 0.01  # seconds


async def until(
    look: Callable[[], Any],
    what: str = "what was waited for",
    *,
    holds: Callable[[Any], Any] = bool,
    within: float = BOUND,
    pause: float = PAUSE,
) -> Any:
    """What `look` returns (or a coroutine of it) as soon as it `holds`; it is asked again after each `pause`.

    Fails after `within` seconds, saying `what` did not come and what was seen last.
    """
    found = None
    try:
        async with asyncio.timeout(within):
            while not holds(found := await value(look())):  # noqa: ASYNC110 - any condition: nothing tells of it
                await asyncio.sleep(pause)
    except TimeoutError:
        raise AssertionError(f"not within {within:g} s: {what}; last seen: {found!r}") from None
    return found


async def value(found: Any) -> Any:
    return await found if inspect.isawaitable(found) else found
