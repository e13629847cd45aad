"""`moorage decide`: ask over NATS what would be decided."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from services.cli.support.broker import broker, settings_of
from services.cli.support.flags import add_application, add_file, asked_for
from services.cli.support.settings import add_settings
from services.cli.support.tenant import SIGN_IN, duration, subject

if TYPE_CHECKING:
    from services.cli.support.identity import AskerSettings

DESCRIPTION = f"""\
Ask over NATS where something would be placed now, with the scores of all that could be chosen and why others cannot. It
is decided as always, on what is free at this moment, and nothing is written: the Placement and its objects need not be
on the hub, nor does what is answered bind anybody.

  moorage decide -f examples/events/hello.yaml --workspace root:team-a --user alice
  moorage decide -f placement.yaml -o json | jq .data.decision.selected

With --reserve, what would be chosen is held for that long, ten minutes at most, under an id: `moorage place --hold ID`
takes it over within that time.

{SIGN_IN}
Exit codes: 0 targets would be chosen; 1 it would be refused, the request is rejected, or not answered within --timeout;
2 the command line or a file cannot be used. With -o json: the answer, a CloudEvent on one line.
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "decide",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_file(parser)
    add_application(parser)
    parser.add_argument("--reserve", type=_held, metavar="DURATION", help="hold the capacity for so long, as in 30s")
    parser.add_argument(
        "--timeout",
        type=duration,
        default=15.0,
        metavar="DURATION",
        help="how long to wait for the answer (default: 15s; intake says by itself what takes more than ten)",
    )
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="default: table")
    add_settings(parser, "AskerSettings")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Ask, and print the answer; 1 where it is a refusal."""
    import asyncio

    from services.cli.support.identity import AskerSettings

    settings = settings_of(args, AskerSettings)
    where = subject(settings, "decide")
    data = asked_for(args) | ({"reserve": args.reserve} if args.reserve else {})
    return asyncio.run(_decide(args, settings, where, data))


def _held(text: str) -> str:
    """A duration as it is asked for."""
    duration(text)
    return text


async def _decide(args: argparse.Namespace, settings: "AskerSettings", where: str, data: dict[str, Any]) -> int:
    from services.cli.support.asking import decide
    from services.cli.support.decisions import table
    from shared.cloudevents import structured

    async with broker(settings) as (bus, _):
        event, answer = await decide(bus, where, data, args.timeout)
    sys.stdout.write((structured(event).decode() if args.output == "json" else table(answer)) + "\n")
    return int(answer.refusal is not None)
