"""What tracing costs: processor time of the spans of one placement, off, one trace in twenty, and all.

    python -m tests.bench.tracing --messages 4000 --placement 30.6

What the runner does for tracing is done here for each message, with nothing in between, and the spans are sent to a
process that throws them away. `--placement` is the processor time of all workers for one placement, in milliseconds, as
`tests.bench.burst` measures it, of which the cost is told as a share.
"""

import argparse
import multiprocessing
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from shared.api import PlacementSpec
from shared.model.decision import Choice, Proposal
from shared.model.refs import Head, PlacementRef
from shared.model.request import Cause, Request
from shared.pipeline.messages import Evaluated, Requested, Scheduled
from shared.pipeline.spans import outcome, processing, result, sending
from shared.process.tracing import Telemetry
from tests.bench.machine import machine

SPANS = 14
"""Of a placement in one target: the round asked for (2), ten messages handled, two of status sent (tests/e2e)."""
REPEATS = 3
MODES = {
    "off": {"OTEL_SDK_DISABLED": "true"},
    "1:20": {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.05"},
    "1:1": {},
}
REF = PlacementRef(workspace="root:team", namespace="shop", name="web")


class Sink(BaseHTTPRequestHandler):
    """Takes whatever is posted."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Read, and say that it is well."""
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        """Nothing is logged."""


class InHand:
    """A message in hand, as far as spans ask."""

    attempt, sequence, pending, handed_on, payload = 1, 1, 3, False, b""

    def __init__(self, message: Evaluated, headers: dict[str, str]) -> None:
        self.subject, self.headers, self.stored_at = message.subject(), headers, time.time()


def sink(port: "multiprocessing.Queue[int]") -> None:
    """A receiver of spans in a process of its own."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    port.put(server.server_address[1])
    server.serve_forever()


def measure(env: dict[str, str], messages: int, found: "multiprocessing.Queue[float]") -> None:
    """Seconds of processor time for each span of `messages` placements' worth, the exporter's included."""
    os.environ.update(env)
    telemetry = Telemetry("bench", os.environ)
    started = time.process_time()
    for number in range(messages // SPANS):
        head = Head(uid=f"u{number}", generation=1, attempt=2)
        request = Request(placement=REF, head=head, cause=Cause(code="Created"), spec=PlacementSpec())
        evaluated = Evaluated(request=request, targets=("root:p/a",), inventory_revision=1)
        chosen = (Choice(target="root:p/a", score=50.0),)
        scheduled = Scheduled(
            request=request, proposal=Proposal(strategy="BestFit", selected=chosen), inventory_revision=1
        )
        with sending(telemetry, Requested(request=request)) as headers:
            onward = dict(headers)
        for _ in range(SPANS - 2):
            in_hand = InHand(evaluated, onward)
            known = None
            if telemetry.records(onward):
                known = processing("scheduler-evaluated", in_hand, evaluated)  # type: ignore[arg-type]  # stands in for a Delivery
            with telemetry.span(
                "process evaluated", headers=onward, about=str(REF), kind="consumer", attributes=known
            ) as span:
                with outcome(span):
                    pass
                if span.wanted:
                    span.tell(result((scheduled,)))
    telemetry.close()
    found.put((time.process_time() - started) / messages)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=4000)
    parser.add_argument("--placement", type=float, default=30.6, metavar="MILLISECONDS")
    args = parser.parse_args()
    print(machine())
    spawn = multiprocessing.get_context("spawn")
    port: multiprocessing.Queue[int] = spawn.Queue()
    receiver = spawn.Process(target=sink, args=(port,), daemon=True)
    receiver.start()
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port.get()}"}
    for mode, env in MODES.items():
        costs = []
        for _ in range(REPEATS):
            found: multiprocessing.Queue[float] = spawn.Queue()
            child = spawn.Process(target=measure, args=({**endpoint, **env}, args.messages, found))
            child.start()
            costs.append(found.get())
            child.join()
        cost = min(costs)
        share = 100 * cost * 1000 * SPANS / args.placement
        print(f"{mode:>5}: {1e6 * cost:6.1f} µs a span, {1e3 * cost * SPANS:.2f} ms a placement, {share:.2f} % of its")
    receiver.terminate()


if __name__ == "__main__":
    main()
