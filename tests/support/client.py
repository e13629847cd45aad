"""What tests ask of API servers."""

from collections.abc import Awaitable
from typing import TypeVar

from shared.kube.errors import ApiError

T = TypeVar("T")


async def if_there(getting: Awaitable[T]) -> T | None:
    """What is asked for; None where the server says that it is not there."""
    try:
        return await getting
    except ApiError as error:
        if error.not_found:
            return None
        raise
