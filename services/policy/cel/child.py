"""The child process of isolation.py: reads jobs from standard input, writes answers to standard output.

It limits itself, so that it ends even if nobody is left to kill it: memory by the kernel's limit, time by an alarm
whose default action ends the process wherever it is.
"""

import os
import resource
import signal
import sys
import time
from typing import Any, BinaryIO

import msgspec

from services.policy.cel import admission
from services.policy.cel.protocol import Answer, Job, Review
from services.policy.cel.standard import TooDeep, compile_text, outcomes_on
from shared.aio.lru import Lru
from shared.api import PlacementPolicySpec, Rule

FLUSH_SECONDS = 0.05
"""How often answers are handed over, so that those before a deadline are not lost."""

COMPILED = 100
"""Expressions that are kept compiled, least recently used first out."""

WARM_UP = PlacementPolicySpec(rules=(Rule(name="warm-up", expression="target.ready"),))
"""Checked before the first job, whose deadline is not to pay for loading the grammar and the type checker."""

NICENESS = 5
"""Rules that take long yield to everything else."""


_JOBS = msgspec.msgpack.Decoder(Job | Review)


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer jobs until the input ends."""
    known: Lru[str, Any] = Lru(COMPILED)
    admission.check(WARM_UP)
    sink.write(b"+")
    sink.flush()
    while header := source.read(4):
        job = _JOBS.decode(source.read(int.from_bytes(header, "big")))
        limit(job)
        if isinstance(job, Review):
            write(sink, [admission.review(job.spec)])
        else:
            answer(job, known, sink)
        signal.setitimer(signal.ITIMER_REAL, 0)


def limit(job: Job | Review) -> None:
    """Bound this process's memory and time."""
    if job.memory:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (job.memory, hard))
    if job.deadline:
        signal.setitimer(signal.ITIMER_REAL, 2 * job.deadline + 1)


def answer(job: Job, known: Lru[str, Any], sink: BinaryIO) -> None:
    """Evaluate on each target and write the answers, a few at a time."""
    try:
        expression = known.get(job.digest)
        if expression is None:
            expression = compile_text(job.text)
            known.put(job.digest, expression)
    except TooDeep as error:
        write(sink, [("e", str(error))] * len(job.targets))
        return
    ready: list[Answer] = []
    flushed = time.monotonic()
    text = job.text if job.together else ""
    for found in outcomes_on(expression, job.calls, job.context, job.targets, text):
        ready.append(found)
        if time.monotonic() - flushed > FLUSH_SECONDS:
            write(sink, ready)
            ready, flushed = [], time.monotonic()
    write(sink, ready)


def write(sink: BinaryIO, answers: list[Any]) -> None:
    """One frame."""
    payload = msgspec.msgpack.encode(answers)
    sink.write(len(payload).to_bytes(4, "big") + payload)
    sink.flush()


if __name__ == "__main__":
    os.nice(NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business; it closes our input
    serve(sys.stdin.buffer, sys.stdout.buffer)
