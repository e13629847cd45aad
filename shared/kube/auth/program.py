"""Credentials that a program of the operator's issues for one server, by client-go's protocol (ExecCredential).

The program is the operator's; for which server it is asked may be a stranger's word. So it is held to a time, an amount
of output and a number at once; it has no more of our environment than a PATH; and what it prints is in no message.
"""

import asyncio
import contextlib
import json
import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from shared.kube.auth.plugin import Issued
from shared.kube.errors import MALFORMED, ConfigError
from shared.kube.times import seconds

VERSIONS: Final = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
INFO: Final = "KUBERNETES_EXEC_INFO"
AT_ONCE: Final = 8
"""Runs of one command at a time for the servers that one place names; others wait."""
LONGEST_OUTPUT: Final = 64 << 10  # bytes
_LONGEST_TOKEN: Final = 16 << 10  # characters
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_RUN: Final = 15.0  # seconds that a run may take
_WAIT: Final = 30.0  # seconds that waiting for it may take
_PAUSE: Final = 10.0  # seconds from a run to the next one for the same server, whatever it says
_EARLY: Final = 60.0  # seconds before their end at which credentials are renewed; less, where they are short-lived
_TOKEN = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True, repr=False)
class CredentialCommand:
    """A program with its arguments and the variables that it is given."""

    name: str
    api_version: str
    path: str
    args: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    longest: float = _RUN

    def asking(self, cluster: dict[str, Any] | None) -> str:
        """What it is asked, as KUBERNETES_EXEC_INFO has it: for credentials, of a cluster if that is to be told."""
        about = {} if cluster is None else {"cluster": cluster}
        spec = {"interactive": False, **about}
        return json.dumps({"apiVersion": self.api_version, "kind": "ExecCredential", "spec": spec})


@dataclass(slots=True, repr=False)
class CredentialProgram:
    """What a command issues for one server, kept until it expires or `renew` is called (the server said 401).

    `room` bounds how many run at once, of all that share it. Two are equal that ask the same of the same command for
    the same server.
    """

    command: CredentialCommand
    server: str
    asked: str
    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE), compare=False)
    clock: Callable[[], float] = field(default=time.time, compare=False)
    _issued: Issued | None = field(default=None, compare=False)
    _until: float = field(default=0.0, compare=False)  # when what was issued is renewed
    _ran: float = field(default=0.0, compare=False)  # when it ran last
    _failed: str = field(default="", compare=False)  # why that issued nothing
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock, compare=False)

    async def credentials(self) -> Issued:
        """The present credentials. Raises ConfigError where the program issues none, says at most why in general."""
        async with self._lock:
            if self._issued is not None and self.clock() < self._until:
                return self._issued
            if self._failed and self.clock() - self._ran < _PAUSE:
                raise ConfigError(self._failed)
            try:
                self._issued = await self._ask()
            except ConfigError as error:
                self._issued, self._failed = None, str(error)
                raise
            finally:
                self._ran = self.clock()
            self._failed = ""
            now, expires = self._ran, self._issued.expires
            self._until = float("inf") if expires is None else expires - min(_EARLY, (expires - now) / 4)
            return self._issued

    def renew(self, refused: Issued) -> None:
        """Forget what the server refused, unless it is quite new: a server that refuses all would have us run on."""
        if self._issued is refused and self.clock() - self._ran >= _PAUSE:
            self._issued = None

    async def _ask(self) -> Issued:
        said = f"the program of access provider {self.command.name}"
        try:
            async with asyncio.timeout(_WAIT):
                await self.room.acquire()
        except TimeoutError:
            raise ConfigError(f"{said} runs too often at once") from None
        try:
            async with asyncio.timeout(self.command.longest):
                output, code = await _run(self.command, self.asked)
        except TimeoutError:
            raise ConfigError(f"{said} took over {self.command.longest:g} s") from None
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", "") or "its arguments cannot be passed"
            raise ConfigError(f"{said} cannot be run: {why}") from None
        finally:
            self.room.release()
        if len(output) > LONGEST_OUTPUT:
            raise ConfigError(f"{said} printed more than {LONGEST_OUTPUT >> 10} KiB")
        if code:
            raise ConfigError(f"{said} ended with exit code {code}")
        try:
            return _read(output, self.command.api_version, self.clock())
        except ValueError as error:
            raise ConfigError(f"{said} {error}") from None


async def _run(command: CredentialCommand, asked: str) -> tuple[bytes, int]:
    """What the program printed, as far as that is of use, and its exit code.

    Where it does not end by itself all of its group is ended with it. What it leaves behind when it does runs on,
    as after client-go's runs: it is the operator's program.
    """
    process = await asyncio.create_subprocess_exec(
        command.path,
        *command.args,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={"PATH": _PATH, **dict(command.environment), INFO: asked},
        cwd="/",
        start_new_session=True,  # a group of its own, which is ended as a whole
    )
    output, ended = b"", False
    try:
        assert process.stdout is not None
        while len(output) <= LONGEST_OUTPUT and (more := await process.stdout.read(LONGEST_OUTPUT)):
            output += more
        if len(output) > LONGEST_OUTPUT:
            return output, 0
        code = await process.wait()
        ended = True
        return output, code
    finally:
        if not ended:  # itself, or what it began and left behind with its output
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            await asyncio.shield(process.wait())


class _Status(msgspec.Struct, rename="camel"):
    token: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""
    expiration_timestamp: str | None = None


class _Answer(msgspec.Struct, rename="camel"):
    api_version: str
    kind: str
    status: _Status | None = None


_ANSWER = msgspec.json.Decoder(_Answer)


def _read(output: bytes, version: str, now: float) -> Issued:
    """What was issued. Raises ValueError, which says why nothing was, and quotes nothing."""
    try:
        answer = _ANSWER.decode(output)
    except MALFORMED:
        raise ValueError("printed no ExecCredential") from None
    status = answer.status
    if (answer.api_version, answer.kind) != (version, "ExecCredential"):
        raise ValueError(f"printed no ExecCredential of {version}")
    if status is None or not (status.token or status.client_certificate_data):
        raise ValueError("issued neither a token nor a client certificate")
    if bool(status.client_certificate_data) != bool(status.client_key_data):
        raise ValueError("issued a client certificate without its key, or a key alone")
    if status.token and not (len(status.token) <= _LONGEST_TOKEN and _TOKEN.fullmatch(status.token)):
        raise ValueError("issued a token that is none")
    expires = None if status.expiration_timestamp is None else seconds(status.expiration_timestamp)
    if expires is not None and expires <= now:
        raise ValueError("issued what has expired, or an end that is no time")
    return Issued(
        token=status.token,
        certificate=_pem(status.client_certificate_data),
        key=_pem(status.client_key_data),
        expires=expires,
    )


def _pem(text: str) -> bytes | None:
    """The protocol has PEM as it is; that it is one is found out when it is loaded."""
    return text.encode() if text else None
