"""That something is not there is an answer, too."""

from collections.abc import Awaitable
from typing import TypeVar

from shared.kube.errors import ApiError

T = TypeVar("T")


async def unless_absent(asking: Awaitable[T]) -> T | None:
    """What is answered; None where it is not there."""
    try:
        return await asking
    except ApiError as error:
        if error.not_found:
            return None
        raise
