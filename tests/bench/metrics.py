"""What metrics and logs cost: processor time of what is counted and timed for one placement, of one look at `/metrics`,
and of the lines on what became of it.

    python -m tests.bench.metrics --messages 20000 --placement 30.6

What the runner and the clients of API servers do for metrics is done here for each message and request, with nothing in
between: with the numbers kept, and with nothing. `--placement` is the processor time of all workers for one placement,
in milliseconds, as `tests.bench.burst` measures it, of which the cost is told as a share.
"""

import argparse
import logging
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from shared.api import PlacementSpec
from shared.hub.metering import HUB
from shared.model.decision import Choice, Proposal
from shared.model.refs import Head, PlacementRef
from shared.model.request import Cause, Request
from shared.pipeline.events import derive
from shared.pipeline.lines import write
from shared.pipeline.measures import WorkInHand, sent
from shared.pipeline.messages import Decided, Evaluated, Scheduled
from shared.process.logs import JsonFormatter
from shared.process.metrics import render
from tests.bench.machine import machine

MESSAGES, REQUESTS, FACTS = 10, 14, 4
"""Of a placement in one target: messages handled, requests to API servers (tests/e2e/budget.toml), and facts: it is
requested, decided, bound, ready."""
REPEATS = 5
REF = PlacementRef(workspace="root:team", namespace="shop", name="web")


def messages(number: int) -> float:
    """Seconds of processor time for each message: that it is handled and another one is sent."""
    head = Head(uid="u", generation=1, attempt=1)
    request = Request(placement=REF, head=head, cause=Cause(code="Created"), spec=PlacementSpec(), requested_at=1.0)
    evaluated = Evaluated(request=request, targets=("root:p/a",), inventory_revision=1)
    scheduled = Scheduled(request=request, proposal=Proposal(strategy="BestFit"), inventory_revision=1)
    decided = Decided(placement=REF, head=head, selected=(Choice(target="root:p/a", score=50.0),))
    work = WorkInHand()
    delivery: Any = SimpleNamespace(attempt=1, sequence=1, stored_at=time.time())
    began = time.process_time()
    for each in range(number):
        with work.handling("scheduler-evaluated", delivery):
            work.begun(evaluated, delivery)
        if each % MESSAGES:
            work.handled(evaluated, (scheduled,), None)
        else:
            work.handled(scheduled, (decided,), None)
        sent(scheduled)
    return (time.process_time() - began) / number


def requests(number: int) -> float:
    """Seconds of processor time for each request."""
    began = time.process_time()
    for _ in range(number):
        started = time.perf_counter()
        HUB.asked("PATCH", 200, time.perf_counter() - started)
    return (time.process_time() - began) / number


def looks(number: int) -> float:
    """Seconds of processor time for each look, with a hundred series beside the process' own."""
    readings = WorkInHand().readings(dict)
    began = time.process_time()
    for _ in range(number):
        render(readings)
    return (time.process_time() - began) / number


def facts(number: int) -> float:
    """Seconds of processor time for each line on what was decided, written to nowhere as JSON."""
    log, head = logging.getLogger("moorage.facts"), Head(uid="u", generation=1, attempt=1)
    (event,) = derive(Decided(placement=REF, head=head, selected=(Choice(target="root:p/a", score=50.0),)))
    with Path(os.devnull).open("w") as nowhere:
        handler = logging.StreamHandler(nowhere)
        handler.setFormatter(JsonFormatter("bench"))
        log.handlers, log.propagate = [handler], False
        log.setLevel(logging.INFO)
        began = time.process_time()
        for _ in range(number):
            write(event)
        return (time.process_time() - began) / number


def nothing(number: int) -> float:
    """Seconds of processor time for each turn of a loop that counts nothing."""
    began = time.process_time()
    for _ in range(number):
        pass
    return (time.process_time() - began) / number


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--placement", type=float, default=30.6, metavar="MILLISECONDS")
    args = parser.parse_args()
    print(machine())
    off = min(nothing(args.messages) for _ in range(REPEATS))
    message = min(messages(args.messages) for _ in range(REPEATS))
    request = min(requests(args.messages) for _ in range(REPEATS))
    look = min(looks(max(1, args.messages // 200)) for _ in range(REPEATS))
    line = min(facts(max(1, args.messages // 10)) for _ in range(REPEATS))
    whole = MESSAGES * message + REQUESTS * request
    print(f"off: {1e6 * off:.2f} µs a message")
    print(f"on: {1e6 * message:.1f} µs a message, {1e6 * request:.1f} µs a request")
    print(f"a placement: {1e6 * whole:.0f} µs, {100 * whole * 1000 / args.placement:.2f} % of its")
    share = 100 * FACTS * line * 1000 / args.placement
    print(f"logs: {1e6 * line:.1f} µs a line, {share:.2f} % of a placement's")
    print(f"a look at /metrics: {1e3 * look:.2f} ms, each 15 s {100 * look / 15:.3f} % of a core and worker")


if __name__ == "__main__":
    main()
