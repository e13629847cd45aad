"""`moorage version`: which version this is, and of which the copies of workers are that are running."""

import argparse
import json
import platform
import sys
from typing import TYPE_CHECKING, Any

from services.cli.support.settings import add_settings

if TYPE_CHECKING:
    from services.cli.diagnosing.copies import RunningCopy
    from shared.process.settings import NatsSettings

DESCRIPTION = """\
Print the version of Moorage, and of the Python that runs it; with --running also each copy of a worker that is at work,
and its version.

  moorage version
  moorage version --running -o json | jq -r '.workers[] | select(.version != "0.1.0") | .worker'

A copy counts as running for seven seconds after its last sign of life in NATS. Copies of a release before this one do
not tell their version, and those of controller, policy, scheduler and intake not that they are there.

Exit codes: 0; 1 NATS does not answer (with --running); 2 the command line cannot be used.
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "version", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--running", action="store_true", help="ask NATS which copies of workers are running, too")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="default: text")
    add_settings(parser, "NatsSettings")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print it."""
    from importlib.metadata import version

    found: dict[str, Any] = {"moorage": version("moorage"), "python": platform.python_version()}
    lines = [f"moorage {found['moorage']} (Python {found['python']})"]
    if args.running:
        import asyncio

        import msgspec

        from services.cli.support.broker import settings_of
        from shared.process.settings import NatsSettings

        copies = asyncio.run(_running(settings_of(args, NatsSettings)))
        found["workers"] = msgspec.to_builtins(copies)
        lines += ["", *_table(copies)]
    sys.stdout.write(f"{json.dumps(found)}\n" if args.output == "json" else "\n".join(lines) + "\n")
    return 0


async def _running(settings: "NatsSettings") -> "tuple[RunningCopy, ...]":
    from services.cli.diagnosing.copies import running
    from services.cli.support.broker import broker
    from services.registry import load_all
    from shared.broker.nats.bus import NatsBus

    async with broker(settings) as (bus, store):
        assert isinstance(bus, NatsBus)
        return await running(bus.client, store, load_all())


def _table(copies: "tuple[RunningCopy, ...]") -> list[str]:
    """A line for each copy, and one for each worker of which none is there."""
    from services import PIPELINE
    from services.cli.support.output import aligned, printable

    rows = [("WORKER", "COPY", "VERSION", "SEEN")]
    for worker in PIPELINE:
        there = [each for each in copies if each.worker == worker]
        rows += [
            (worker, printable(each.copy), printable(each.version) or "not told", f"{each.seen_seconds:.0f}s ago")
            for each in there
        ]
        if not there:
            rows.append((worker, "none tells that it is running", "", ""))
    return aligned(rows)
