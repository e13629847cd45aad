"""`moorage wait`: until something is so of a placement, by its events."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from services.cli.support.broker import connection, settings_of
from services.cli.support.flags import add_placement
from services.cli.support.settings import add_settings
from services.cli.support.tenant import SIGN_IN, duration, placement
from shared.model.words import EVENT_WORDS

if TYPE_CHECKING:
    from services.cli.support.identity import TenantSettings

DESCRIPTION = f"""\
Wait until something is so of a placement, and say since when; it may be so already. It is read from the events that
NATS keeps (7 days, unless the operator says otherwise), so that no access to the hub is needed.

  moorage wait shop/backend --workspace root:shop --for Ready
  moorage wait shop/backend --workspace root:shop --for Removed --timeout 10m

What counts is said of the newest generation of the placement's spec: Ready means that what was asked for last is
applied and healthy in every target that was chosen. Of Ready, Degraded, Suspended and Removed only the last one is so,
and likewise of Decided and Refused; others are so once they were told.

{SIGN_IN}
Exit codes: 0 it is so; 1 it is not within --timeout, or NATS cannot be reached, or refuses; 2 the command line cannot
be used.
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "wait",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_placement(parser)
    parser.add_argument(
        "--for", dest="word", choices=EVENT_WORDS, required=True, metavar="TYPE", help=", ".join(EVENT_WORDS)
    )
    parser.add_argument(
        "--timeout", type=duration, default=300.0, metavar="DURATION", help="how long, as in 90s (default: 5m)"
    )
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="json: the CloudEvent")
    add_settings(parser, "TenantSettings")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Wait, and say so."""
    import asyncio

    from services.cli.support.identity import TenantSettings

    asyncio.run(_wait(args, settings_of(args, TenantSettings)))
    return 0


async def _wait(args: argparse.Namespace, settings: "TenantSettings") -> None:
    from services.cli.support.following import until
    from shared.cloudevents import structured

    ref = placement(args, settings.workspace)
    async with connection(settings) as client:
        event = await until(client, ref, args.word, args.timeout)
    if args.output == "json":
        sys.stdout.write(structured(event.event).decode() + "\n")
    else:
        since = f" since {event.time}" if event.time else ""
        sys.stdout.write(f"{ref.namespace}/{ref.name} is {args.word}{since}\n")
