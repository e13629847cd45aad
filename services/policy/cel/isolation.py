"""Evaluation in child processes that are killed at their deadline: nothing inside celpy can be interrupted.

Children are started when first needed, kept, and replaced when they had to be killed. One tenant has at most one child
at a time, so a hostile rule holds up its own tenant only; an expression that ran into its deadline is not tried again
for a while, longer with each time.
"""

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from services.policy.cel.protocol import Answer, Job, Review
from services.policy.evaluation.allowance import Allowances
from shared.api import PlacementPolicySpec
from shared.model.policy import PolicyFinding

log = logging.getLogger("moorage.policy")

T = TypeVar("T")

CHILD = "services.policy.cel.child"
START_SECONDS = 15.0
REST_SECONDS = 30.0
LONGEST_REST_SECONDS = 600.0
REMEMBERED = 10_000
LEAST_SECONDS = 0.05
"""With less than this left of its allowance, a tenant's job is not begun."""

LONGEST_FRAME = 256 << 20


_ANSWERS = msgspec.msgpack.Decoder(list[tuple[str, str]])
_REVIEWS = msgspec.msgpack.Decoder(list[list[PolicyFinding]])


@dataclass
class _Child:
    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    fit: bool = True  # for another job


async def _end(child: _Child) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.process.kill()
    child.writer.close()
    await child.process.wait()


@dataclass
class _Rest:
    until: float
    seconds: float


@dataclass
class Isolation:
    """At most `children` processes; `deadline` seconds and `memory` bytes for one rule of one message."""

    children: int = 2
    deadline: float = 2.0
    memory: int = 512 << 20
    clock: Callable[[], float] = time.monotonic
    _idle: list[_Child] = field(default_factory=list)
    _resting: "OrderedDict[str, _Rest]" = field(default_factory=OrderedDict)
    _tenants: dict[str, tuple[asyncio.Lock, int]] = field(default_factory=dict)
    _allowances: Allowances = field(init=False)
    _slots: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.children)
        self._allowances = Allowances(full=self.deadline)

    async def run(self, job: Job, tenant: str) -> list[tuple[Answer, bool]]:
        """celpy's answers, and whether each is final; what the deadline cut off is an error that is not."""
        async with self._turn(tenant):
            if self._rests(job.digest):
                return [_late("took too long before, and rests for a while")] * len(job.targets)
            seconds = self._allowances.left(tenant, self.clock())
            if seconds < LEAST_SECONDS:
                return [_late("the rules of this workspace have used up their time for now")] * len(job.targets)
            async with self._child() as child:
                begun = self.clock()  # a start is not on the tenant's time
                job = msgspec.structs.replace(job, deadline=seconds, memory=self.memory)
                answers = await self._ask(child, job, len(job.targets), _ANSWERS)
            self._allowances.spend(tenant, self.clock() - begun, self.clock())
        if len(answers) < len(job.targets):
            self._rest(job.digest)
        missing = len(job.targets) - len(answers)
        return [(answer, True) for answer in answers] + [_late(f"took longer than {seconds:.2g} s")] * missing

    async def review(self, spec: PlacementPolicySpec, tenant: str) -> list[PolicyFinding] | None:
        """All that is wrong with a policy; None where a child cannot tell within its deadline and memory.

        It waits for the tenant's turn, but is not on its allowance: many policies that are applied at once are not to
        keep the rules among them from being evaluated.
        """
        async with self._turn(tenant), self._child() as child:
            found = await self._ask(child, Review(spec, self.deadline, self.memory), 1, _REVIEWS)
        return found[0] if found else None

    async def warm(self) -> None:
        """Start a child ahead of its first job. Where that fails, the first job will try again, and say so."""
        try:
            async with self._child():
                pass
        except RuntimeError as error:
            log.warning("%s", error)

    async def close(self) -> None:
        """End all children."""
        for child in self._idle:
            await _end(child)
        self._idle.clear()

    @contextlib.asynccontextmanager
    async def _child(self) -> AsyncIterator[_Child]:
        """A child for one job; it is kept where it is fit for another one afterwards."""
        async with self._slots:
            child = self._idle.pop() if self._idle else await self._start()
            try:
                yield child
            except BaseException:
                child.fit = False
                raise
            finally:
                if child.fit:
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

    async def _start(self) -> _Child:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            CHILD,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            # No secrets of ours: the environment is what Python needs to find the same code.
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PATH": os.environ.get("PATH", "")},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        child = _Child(process, process.stdout, process.stdin)
        try:
            async with asyncio.timeout(START_SECONDS):
                await child.reader.readexactly(1)  # it is up; its start is not on the rule's time
        except (TimeoutError, asyncio.IncompleteReadError):
            await _end(child)
            raise RuntimeError("the process that evaluates rules does not start") from None
        except asyncio.CancelledError:
            await _end(child)
            raise
        return child

    async def _ask(
        self, child: _Child, job: Job | Review, expected: int, decoder: msgspec.msgpack.Decoder[list[T]]
    ) -> list[T]:
        """What came of the expected answers in time; where some are missing, the child is not fit for another job."""
        answers: list[T] = []
        try:
            async with asyncio.timeout(job.deadline):
                payload = msgspec.msgpack.encode(job)
                child.writer.write(len(payload).to_bytes(4, "big") + payload)
                await child.writer.drain()
                while len(answers) < expected and child.fit:
                    size = int.from_bytes(await child.reader.readexactly(4), "big")
                    child.fit = size <= LONGEST_FRAME
                    if child.fit:
                        answers += decoder.decode(await child.reader.readexactly(size))
        except (TimeoutError, asyncio.IncompleteReadError, OSError):
            child.fit = False
        return answers

    def _rests(self, digest: str) -> bool:
        rest = self._resting.get(digest)
        return rest is not None and self.clock() < rest.until

    def _rest(self, digest: str) -> None:
        before = self._resting.pop(digest, None)
        seconds = min(LONGEST_REST_SECONDS, before.seconds * 2 if before else REST_SECONDS)
        self._resting[digest] = _Rest(self.clock() + seconds, seconds)
        if len(self._resting) > REMEMBERED:
            self._resting.popitem(last=False)


def _late(message: str) -> tuple[Answer, bool]:
    return (("e", message), False)
