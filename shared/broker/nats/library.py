"""The client library, made to survive what others may publish. Importing it is slow: `nats_client` does so lazily."""

from nats.aio.client import Client
from nats.aio.msg import Msg


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
