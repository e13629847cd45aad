"""One connection to NATS: it waits for the server, repeats requests over interruptions, and translates errors."""

import asyncio
import contextlib
import logging
import re
import ssl
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from shared.broker.bus import BusError, Forbidden, Reply, Unanswered
from shared.broker.nats.answers import NO_RESPONDERS, AwaitedAnswer, api_answer, status_of
from shared.broker.nats.options import NatsOptions, without_credentials
from shared.broker.services import answered

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from shared.broker.nats.library import TolerantClient

log = logging.getLogger("moorage.nats")

OLDEST_SERVER = (2, 12)
"""Older ones silently ignore settings that our streams rely on (message TTLs, schedules)."""

RECONNECT_EVERY = 0.25  # seconds; a broker restarts in tens of milliseconds
LONGEST_SILENCE = 60.0  # seconds between two log lines that say that we are still waiting
ATTEMPT_TIMEOUT = 2.0  # seconds until a request is sent again, with the same id
LOOK_FOR_OVERDUE = 0.1  # seconds between two looks for answers that are overdue: cheaper than a timer for each
DEADLINE = 15.0  # seconds until a request is given up

_QUOTED = re.compile(r'"([^"]*)"')


class LoginRefused(Forbidden):
    """The server does not let us in: wrong or missing credentials, an untrusted certificate, too old a server."""


class Listener(Protocol):
    """Something that must act when the connection was restored, or permissions deny a subject."""

    def reconnected(self) -> None: ...

    def denied(self, subject: str, reason: str) -> None:
        """Permissions deny a subject (in lower case)."""
        ...


class _Interrupted(Exception):
    """The connection broke: ask again."""


class _Overdue(_Interrupted):
    """Neither an answer nor a connection came in time: the same."""


class NatsClient:
    """Connects, stays connected, and carries requests; see `connect`."""

    def __init__(self, url: str, on_wait: Callable[[str], None] | None) -> None:
        self._url = url
        self._address = without_credentials(url)  # the one that messages show
        self._on_wait = on_wait or log.warning
        self._refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._up = asyncio.Event()
        self._was_up = False
        self._closing = False
        self._silence, self._silent_until = 1.0, 0.0
        self._replies: dict[str, AwaitedAnswer] = {}
        self._count = 0
        self._looking: asyncio.TimerHandle | None = None
        self._inbox = ""
        self._api = ""
        self._nc: TolerantClient
        self._failures: tuple[type[Exception], ...]
        self.listeners: set[Listener] = set()
        self.resends = 0
        """How often any request was sent again. If it has not grown, an answer belongs to the first attempt."""

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        name: str,
        options: NatsOptions | None = None,
        connect_timeout: float = 2.0,
        on_wait: Callable[[str], None] | None = None,
    ) -> "NatsClient":
        """Connect to the servers in `url` (comma-separated); waits for as long as none is there, until cancelled.

        While it waits, `on_wait` (by default: a warning in the log) is told so, ever less often. Each attempt is
        given `connect_timeout` seconds. Raises `LoginRefused` at once where waiting cannot help.
        """
        self, options = cls(url, on_wait), options or NatsOptions()
        self._api = options.api_prefix
        await self._dial(name, options, connect_timeout)
        try:
            self._check_version()
            self._inbox = f"{self._nc.new_inbox()}."
            await self._nc.take(f"{self._inbox}*", "", self._on_reply)
        except BaseException:
            await self.close()
            raise
        return self

    async def _dial(self, name: str, options: NatsOptions, connect_timeout: float) -> None:
        # It takes a sixth of a second to import: only who connects is to pay for it.
        from shared.broker.nats.library import Error, TolerantClient

        if any(one.strip().lower().startswith(("ws:", "wss:")) for one in self._url.split(",")):
            raise LoginRefused(f"NATS at {self._address}: WebSockets are not spoken here")
        try:
            settings = options.settings()
        except OSError as error:  # ssl.SSLError, for a file that is no certificate, is one too
            raise LoginRefused(f"NATS options: {error}") from error
        self._nc, self._failures = TolerantClient(), (Error, OSError)
        connecting = asyncio.create_task(self._connect(name, settings, connect_timeout))
        try:
            await asyncio.wait({connecting, self._refused}, return_when=asyncio.FIRST_COMPLETED)
            if self._refused.done():
                self._refused.result()
            await connecting
        except ModuleNotFoundError as error:
            raise LoginRefused('credential files need the nkeys package: pip install "nats-py[nkeys]"') from error
        except (Error, OSError, ValueError) as error:
            raise LoginRefused(f"NATS at {self._address}: {_text(error)}") from error
        finally:
            if not self._nc.is_connected:
                self._closing = True
                connecting.cancel()
                await asyncio.gather(connecting, return_exceptions=True)
                with contextlib.suppress(Exception):
                    await self._nc.close()
        self._was_up = True
        self._speak_again()
        self._up.set()

    async def _connect(self, name: str, settings: Mapping[str, Any], connect_timeout: float) -> None:
        """Try until it succeeds, as the library does; it tells `_on_error` about each attempt that failed."""
        await self._nc.connect(
            [one.strip() for one in self._url.split(",")],
            name=name,
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnected,
            reconnected_cb=self._on_reconnected,
            closed_cb=self._on_closed,
            connect_timeout=connect_timeout,  # type: ignore[arg-type]  # annotated as int, used as seconds
            reconnect_time_wait=RECONNECT_EVERY,  # type: ignore[arg-type]  # the same
            max_reconnect_attempts=-1,
            ping_interval=10,
            **settings,
        )

    def _check_version(self) -> None:
        version = self._nc.connected_server_version
        if (version.major, version.minor) < OLDEST_SERVER:
            oldest = ".".join(map(str, OLDEST_SERVER))
            raise LoginRefused(f"{version!r} at {self._address} is too old: Moorage needs NATS {oldest} or newer")

    @property
    def connected(self) -> bool:
        """True if the connection is up at this moment."""
        return self._nc.is_connected

    @property
    def closed(self) -> bool:
        """True if the connection is closed for good."""
        return self._closing or self._nc.is_closed

    @property
    def max_payload(self) -> int:
        """Bytes that the server takes in one message, headers included."""
        return self._nc.max_payload

    async def close(self) -> None:
        """Close at once; requests under way fail."""
        self._closing = True
        with contextlib.suppress(OSError):  # it was broken already, and what it still held cannot be sent
            await self._nc.close()
        self._fail_replies(BusError("the connection was closed"))
        self._up.set()  # who waits for the connection finds it closed

    # Requests

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        deadline: float = DEADLINE,
    ) -> "Msg":
        """Ask until answered, over reconnects; for requests that are the same when sent twice.

        Raises `BusError` when there was no answer within `deadline` seconds, `Forbidden` when permissions deny it.
        """
        return (await self._ask(subject, payload, headers, many=False, deadline=deadline))[0]

    async def request_many(self, subject: str, payload: bytes = b"", *, deadline: float = DEADLINE) -> "list[Msg]":
        """The same for requests with many answers, the last of which is a status message."""
        return await self._ask(subject, payload, None, many=True, deadline=deadline)

    async def api(self, subject: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A request to JetStream's API (subject below its prefix), its answer decoded; raises `JetStreamError`."""
        payload = msgspec.json.encode(body) if body is not None else b""
        answer = await self.request(self.api_subject(subject), payload)
        return api_answer(answer)

    async def ask(
        self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None, *, timeout: float
    ) -> Reply:
        """Ask whoever serves a subject, once. Raises `Unanswered`, and `Forbidden` when permissions deny it."""
        try:
            (message,) = await self._ask_once(subject, payload, headers, many=False, patience=timeout)
        except _Overdue:
            raise Unanswered("Timeout", f"NATS, {subject}: no answer within {timeout:g} s") from None
        except _Interrupted as interrupted:
            raise Unanswered("Unavailable", f"NATS, {subject}: {interrupted}") from None
        if status_of(message) == NO_RESPONDERS:
            raise Unanswered("Nobody", f"NATS, {subject}: nobody answers there")
        return answered(message.data, message.headers)

    def api_subject(self, subject: str) -> str:
        """Where a request to JetStream's API goes: `$JS.API`, or what our account imports it as."""
        return f"{self._api}.{subject}"

    async def _ask(
        self, subject: str, payload: bytes, headers: Mapping[str, str] | None, *, many: bool, deadline: float
    ) -> "list[Msg]":
        reason = "no answer"
        until = asyncio.get_running_loop().time() + deadline
        while (left := until - asyncio.get_running_loop().time()) > 0:
            try:
                patience = min(ATTEMPT_TIMEOUT, left)
                parts = await self._ask_once(subject, payload, headers, many=many, patience=patience)
            except _Interrupted as interrupted:
                reason = str(interrupted) or reason
                self.resends += 1
                continue
            if status_of(parts[0]) != NO_RESPONDERS:
                return parts
            reason = "nobody answers there (no such stream, or JetStream is not ready)"
            await asyncio.sleep(RECONNECT_EVERY)
        raise BusError(f"NATS, {subject}: {reason}, for {deadline:g} s") from None

    async def _ask_once(
        self, subject: str, payload: bytes, headers: Mapping[str, str] | None, *, many: bool, patience: float
    ) -> "list[Msg]":
        if not self._up.is_set():
            await self._connected_within(patience)
        if self.closed:
            raise BusError("the connection was closed")
        self._count += 1
        token = str(self._count)
        reply = self._replies[token] = AwaitedAnswer(subject, many, asyncio.get_running_loop().time() + patience)
        try:
            await self.send(subject, payload, reply=self._inbox + token, headers=headers)
            if self._looking is None:
                self._look_for_overdue()
            return await reply.done
        finally:
            del self._replies[token]
            reply.done.cancel()

    async def _connected_within(self, patience: float) -> None:
        try:
            async with asyncio.timeout(patience):
                await self._up.wait()
        except TimeoutError:
            raise _Overdue from None

    def _look_for_overdue(self) -> None:
        """Fail the replies that did not come in time, and look again while any is waited for."""
        now = asyncio.get_running_loop().time()
        for reply in self._replies.values():
            if reply.until <= now:
                reply.fail(_Overdue("no answer"))
        self._looking = None
        if self._replies:
            self._looking = asyncio.get_running_loop().call_later(LOOK_FOR_OVERDUE, self._look_for_overdue)

    async def send(
        self, subject: str, payload: bytes = b"", *, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Publish without waiting for anything; while reconnecting it is buffered, up to a bound."""
        try:
            await self._nc.publish(subject, payload, reply, dict(headers) if headers else None)
        except self._failures as error:
            raise BusError(f"NATS, {subject}: {_text(error)}") from error

    async def subscribe(self, subject: str, take: "Callable[[Msg], None]", *, queue: str = "") -> "Subscription":
        """Plain subscription, or one of a queue group; it is restored after reconnects. `take` must not block."""
        try:
            return await self._nc.take(subject, queue, take)
        except self._failures as error:
            raise BusError(f"NATS, {subject}: {_text(error)}") from error

    async def flush(self, timeout: float = ATTEMPT_TIMEOUT) -> None:
        """Wait until the server has taken what was sent so far, and its complaints about it are here."""
        try:
            async with asyncio.timeout(timeout):
                await self._nc.flush()  # its PING overtakes what the library still holds in its buffer,
                await self._nc.flush()  # so only a second one comes after all of that
        except self._failures as error:
            raise BusError(f"NATS does not answer: {_text(error)}") from error

    async def drain(self, subscription: "Subscription") -> None:
        """End a subscription; what the server had sent for it has been handled when this returns."""
        await self._nc._send_unsubscribe(subscription._id)  # noqa: SLF001 - the library's drain does not wait for it
        await self.flush()
        await subscription.drain()  # type: ignore[no-untyped-call]  # the library left it so

    def new_inbox(self) -> str:
        """A subject that nobody else uses."""
        return self._nc.new_inbox()

    def _on_reply(self, message: "Msg") -> None:
        reply = self._replies.get(message.subject.removeprefix(self._inbox))
        if reply is not None:
            reply.take(message)

    def _fail_replies(self, error: Exception, subject: str | None = None) -> None:
        for reply in self._replies.values():
            if subject in (None, reply.subject.lower()):
                reply.fail(error)

    # What the client library tells us

    async def _on_error(self, error: Exception) -> None:
        text = _text(error)
        lower = text.lower()
        if "permissions violation" in lower:
            self._deny(text)
        elif not self._was_up and not self._refused.done() and _is_refusal(error, lower):
            self._refused.set_exception(LoginRefused(f"NATS at {self._address} refused the connection: {text}"))
        elif not self._closing and not self.connected:
            self._say_waiting(text)

    def _deny(self, text: str) -> None:
        reason = f"NATS permissions: {text.removeprefix('nats: ')}"
        quoted = _QUOTED.search(text.lower())  # the library passes it on in lower case, and one day might not
        subject = quoted.group(1) if quoted else ""
        log.error(reason)
        replies_denied = subject.startswith(self._inbox.lower())
        self._fail_replies(Forbidden(reason), None if replies_denied else subject)
        for listener in tuple(self.listeners):
            listener.denied(subject, reason)

    def _say_waiting(self, reason: str) -> None:
        """Log that we wait, ever less often: the library reports each of its attempts, several a second."""
        now = asyncio.get_running_loop().time()
        if now < self._silent_until:
            return
        self._silent_until = now + self._silence
        self._silence = min(self._silence * 2, LONGEST_SILENCE)
        self._on_wait(f"waiting for NATS at {self._address}: {reason}")

    def _speak_again(self) -> None:
        self._silence, self._silent_until = 1.0, 0.0

    async def _on_disconnected(self) -> None:
        self._up.clear()
        self._fail_replies(_Interrupted("the connection was lost"))
        if self._was_up and not self._closing:
            log.warning("lost the connection to NATS", extra={"url": self._address})

    async def _on_reconnected(self) -> None:
        self._speak_again()
        self._up.set()
        log.info("connected to NATS again", extra={"url": self._address})
        for listener in tuple(self.listeners):
            listener.reconnected()

    async def _on_closed(self) -> None:
        self._fail_replies(BusError("the connection was closed"))
        self._up.set()  # who waits for the connection finds it closed
        if not self._closing:
            log.error("NATS closed the connection for good", extra={"reason": str(self._nc.last_error)})


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__


def _is_refusal(error: Exception, text: str) -> bool:
    return isinstance(error, ssl.SSLError) or "authorization" in text or "authentication" in text
