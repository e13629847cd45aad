"""Evaluation in child processes that are killed at their deadline: nothing inside the engine can be interrupted.

Children are started when first needed, kept, and replaced when they had to be killed. One tenant has at most one child
at a time, so a hostile rule holds up its own tenant only; an expression that ran into its deadline is not tried again
for a while, longer with each time.

Where there is no child for a job, because the machine is too busy or has no memory or processes left, nothing is known
of the rule: that is `Unavailable`, and helped by waiting. So is a child that somebody else kills at its job, unless
children keep dying of the same one.
"""

import asyncio
import contextlib
import errno
import logging
import os
import resource
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from services.policy.cel.protocol import Answer, Job, Review
from services.policy.evaluation.allowance import Allowances
from shared.aio.backoff import backoff
from shared.aio.lru import Lru
from shared.api import PlacementPolicySpec
from shared.model.policy import PolicyFinding

log = logging.getLogger("moorage.policy")

T = TypeVar("T")

COMMAND = (sys.executable, "-m", "services.policy.cel.child")
START_SECONDS = 15.0
"""How long a job waits for a child to start."""
LONGEST_START_SECONDS = 120.0
"""How long a child that no job waits for any more may go on starting, for the next one."""
REST_SECONDS = 30.0
LONGEST_REST_SECONDS = 600.0
REMEMBERED = 10_000
LEAST_SECONDS = 0.05
"""With less than this left of its allowance, a tenant's job is not begun."""

MOST_GROWN = 64 << 20
"""Bytes that a child may grow by; then another begins. The engine keeps what it hands to functions of Python."""
LONGEST_FRAME = 256 << 20
MOST_DEATHS = 3
"""Children that may be killed at the same job by somebody else, before the job itself is blamed."""
SHORT_OF = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
"""Why no process could be started, where there may be what it needs later: processes, memory, files."""


class Unavailable(Exception):
    """There is no child process for a job now; there may be one later. The message says why."""


_ANSWERS = msgspec.msgpack.Decoder(list[tuple[str, str]])
_REVIEWS = msgspec.msgpack.Decoder(list[list[PolicyFinding]])


@dataclass
class _Child:
    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    begun: float
    up: bool = False
    size: int = 0  # bytes that it had when it was up
    fit: bool = True  # for another job

    def resident(self) -> int:
        """Bytes of memory that it has; 0 where it ended."""
        try:
            return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * resource.getpagesize()
        except (OSError, IndexError):
            return 0

    @property
    def ended(self) -> bool:
        """True if it ended before we ended it."""
        return self.process.returncode is not None

    @property
    def killed(self) -> bool:
        """True if a signal ended it, by somebody else's hand."""
        return self.process.returncode is not None and self.process.returncode < 0


async def _end(child: _Child) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.process.kill()
    child.writer.close()
    await child.process.wait()


@dataclass
class _Rest:
    until: float
    times: int


@dataclass
class Isolation:
    """At most `children` processes; `deadline` seconds and `memory` bytes for one rule of one message."""

    children: int = 2
    deadline: float = 2.0
    memory: int = 512 << 20
    start_seconds: float = START_SECONDS
    command: Sequence[str] = COMMAND
    clock: Callable[[], float] = time.monotonic
    _idle: list[_Child] = field(default_factory=list)
    _resting: Lru[str, _Rest] = field(default_factory=lambda: Lru(REMEMBERED))
    _deaths: Lru[str, int] = field(default_factory=lambda: Lru(REMEMBERED))
    _tenants: dict[str, tuple[asyncio.Lock, int]] = field(default_factory=dict)
    _allowances: Allowances = field(init=False)
    _slots: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.children)
        self._allowances = Allowances(full=self.deadline)

    async def run(self, job: Job, tenant: str) -> list[tuple[Answer, bool]]:
        """The engine's answers, and whether each is final; what the deadline cut off is an error that is not.

        Raises `Unavailable`.
        """
        async with self._turn(tenant):
            if self._rests(job.digest):
                return [_late("took too long before, and rests for a while")] * len(job.targets)
            seconds = self._allowances.left(tenant, self.clock())
            if seconds < LEAST_SECONDS:
                return [_late("the rules of this workspace have used up their time for now")] * len(job.targets)
            async with self._child() as child:
                begun = self.clock()  # a start is not on the tenant's time
                job = msgspec.structs.replace(job, deadline=seconds, memory=self.memory)
                try:
                    answers = await self._ask(child, job, len(job.targets), _ANSWERS)
                finally:
                    self._allowances.spend(tenant, self.clock() - begun, self.clock())
                why = "ended the process that evaluates it" if child.ended else f"took longer than {seconds:.2g} s"
        if len(answers) < len(job.targets):
            self._rest(job.digest)
        missing = len(job.targets) - len(answers)
        return [(answer, True) for answer in answers] + [_late(why)] * missing

    async def review(self, spec: PlacementPolicySpec, tenant: str) -> list[PolicyFinding] | None:
        """All that is wrong with a policy; None where a child cannot tell within its deadline and memory.

        It waits for the tenant's turn, but is not on its allowance: many policies that are applied at once are not to
        keep the rules among them from being evaluated. Raises `Unavailable`.
        """
        async with self._turn(tenant), self._child() as child:
            found = await self._ask(child, Review(spec, self.deadline, self.memory), 1, _REVIEWS)
        return found[0] if found else None

    async def warm(self) -> None:
        """Start a child ahead of its first job. Where that fails, the first job will try again, and say so."""
        try:
            async with self._child():
                pass
        except Unavailable as error:
            log.warning("%s", error)

    async def close(self) -> None:
        """End all children."""
        for child in self._idle:
            await _end(child)
        self._idle.clear()

    @contextlib.asynccontextmanager
    async def _child(self) -> AsyncIterator[_Child]:
        """A child for one job; it is kept where it is fit for another one afterwards. Raises `Unavailable`."""
        async with self._slots:
            child = await self._take() or await self._start()
            try:
                await self._wait_until_up(child)
                yield child
            except Unavailable:
                raise  # whether the child is fit is known
            except BaseException:
                child.fit = False
                raise
            finally:
                if child.fit and child.resident() - child.size < MOST_GROWN:
                    self._idle.append(child)
                else:
                    await _end(child)

    @contextlib.asynccontextmanager
    async def _turn(self, tenant: str) -> AsyncIterator[None]:
        """One job at a time for each tenant; the lock goes when nobody waits for it."""
        lock, users = self._tenants.get(tenant, (asyncio.Lock(), 0))
        self._tenants[tenant] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._tenants.pop(tenant)
            if users > 1:
                self._tenants[tenant] = (lock, users - 1)

    async def _take(self) -> _Child | None:
        """A child that waits for a job and lives; None where there is none."""
        while self._idle:
            child = self._idle.pop()
            if not child.ended:
                return child
            await _end(child)
        return None

    async def _start(self) -> _Child:
        try:
            process = await asyncio.create_subprocess_exec(
                *self.command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                # No secrets of ours: the environment is what Python needs to find the same code.
                env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PATH": os.environ.get("PATH", "")},
            )
        except OSError as error:
            if error.errno not in SHORT_OF:
                raise
            raise Unavailable(f"no process that evaluates rules can be started: {error.strerror}") from error
        assert process.stdin is not None
        assert process.stdout is not None
        return _Child(process, process.stdout, process.stdin, self.clock())

    async def _wait_until_up(self, child: _Child) -> None:
        """Its start is not on the rule's time. One that is slow goes on starting, for the next job."""
        if child.up:
            return
        try:
            async with asyncio.timeout(self.start_seconds):
                await child.reader.readexactly(1)
        except TimeoutError:
            child.fit = self.clock() - child.begun < LONGEST_START_SECONDS
            raise Unavailable("the process that evaluates rules has not started yet") from None
        except asyncio.IncompleteReadError:
            child.fit = False
            raise Unavailable("the process that evaluates rules ended at its start") from None
        child.up, child.size = True, child.resident()

    async def _ask(
        self, child: _Child, job: Job | Review, expected: int, decoder: msgspec.msgpack.Decoder[list[T]]
    ) -> list[T]:
        """What came of the expected answers in time; where some are missing, the child is not fit for another job.

        Raises `Unavailable` where somebody killed the child.
        """
        answers: list[T] = []
        try:
            async with asyncio.timeout(job.deadline):
                try:
                    payload = msgspec.msgpack.encode(job)
                    child.writer.write(len(payload).to_bytes(4, "big") + payload)
                    await child.writer.drain()
                    while len(answers) < expected and child.fit:
                        size = int.from_bytes(await child.reader.readexactly(4), "big")
                        child.fit = size <= LONGEST_FRAME
                        if child.fit:
                            answers += decoder.decode(await child.reader.readexactly(size))
                except (asyncio.IncompleteReadError, OSError):
                    child.fit = False
                    await child.process.wait()  # it ended, or is about to
        except TimeoutError:
            child.fit = False
        if child.killed:
            self._count_death(job.digest)
        elif child.fit:
            self._deaths.pop(job.digest)
        return answers

    def _count_death(self, digest: str) -> None:
        """Raises `Unavailable`, but not again and again: then it is the job that has children killed."""
        deaths = (self._deaths.get(digest) or 0) + 1
        self._deaths.put(digest, deaths)
        if deaths < MOST_DEATHS:
            raise Unavailable("the process that evaluates rules was killed at its work")

    def _rests(self, digest: str) -> bool:
        rest = self._resting.get(digest)
        return rest is not None and self.clock() < rest.until

    def _rest(self, digest: str) -> None:
        before = self._resting.get(digest)
        times = before.times + 1 if before else 1
        seconds = backoff(times, first=REST_SECONDS, most=LONGEST_REST_SECONDS)
        self._resting.put(digest, _Rest(self.clock() + seconds, times))


def _late(message: str) -> tuple[Answer, bool]:
    return (("e", message), False)
