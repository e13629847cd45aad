"""Several things at once, none of which goes on behind one's back."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def together(*work: Awaitable[T]) -> list[T]:
    """Do all of it at once, and wait for all of it also where some of it fails; then raise the first error."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results  # type: ignore[return-value]  # there are no exceptions among them


async def all_of(*work: Awaitable[object]) -> None:
    """Do all of it at once, and raise the first error when it comes; what is alone needs no task of its own."""
    if len(work) == 1:
        await work[0]
    else:
        await asyncio.gather(*work)
