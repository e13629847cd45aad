"""The client library, made to survive what others may publish. Importing it is slow: `client` does so lazily."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _without(module: str) -> Iterator[None]:
    """Import as if a module were not installed that is optional to what is imported."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # as the import system has it: None is never found
    try:
        yield
    finally:
        del sys.modules[module]


with _without("aiohttp"):  # for WebSockets, which we refuse; it takes a third of a second and 15 MB
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.errors import Error

__all__ = ["Error", "TolerantClient"]


class TolerantClient(Client):
    """Takes messages on subjects that are no UTF-8, which a server accepts.

    The library's own way with them is to stop reading from the connection, so that one message of a stranger would
    stop a worker for good. Here each wrong byte becomes U+FFFD, and the message goes the way of all garbage.
    """

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        return self.msg_class(
            subject=subject.decode(errors="replace"),
            reply=reply.decode(errors="replace"),
            data=data,
            headers=headers,
            _client=self,
            _sid=sid,
        )
