"""`moorage evict`: have a placement leave one of its targets once."""

import argparse
import sys
from typing import Any

from services.cli.support.flags import add_placement, add_reader_arguments
from services.cli.support.output import printable
from services.cli.support.tenant import duration, placement

DESCRIPTION = """\
Have a placement leave one of its targets once, for the best of the others, and wait until it is gone there. It goes as
it goes from a target that is drained: spec.stability.disruptionBudget and spec.stability.moves hold, and what fits
nowhere else stays where it is. Nothing keeps it from coming back later: to keep it away, `moorage exclude`.

  moorage evict shop/backend west-1
  moorage evict backend root:platform/west-1 -n shop --timeout 1h

Whoever may change the Placement may ask it (by the annotation placement.moorage.io/evict). Who owns the cluster, and
not the Placement, uses `moorage exclude --for` or `moorage cluster drain`. Ctrl-C, and --timeout, end the command and
not the request.

Exit codes: 0 it has left; 1 it stays, or is not gone in time, and it is said why; 2 the command line cannot be used.
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("evict", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_placement(parser)
    parser.add_argument("target", metavar="TARGET", help="NAME, or WORKSPACE/NAME")
    parser.add_argument(
        "--timeout", type=duration, default=600.0, metavar="DURATION", help="how long to wait (default: 10m)"
    )
    add_reader_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Ask it, and wait."""
    import asyncio

    from services.cli.hub.connection import hub_errors

    with hub_errors():
        asyncio.run(_evict(args))
    return 0


async def _evict(args: argparse.Namespace) -> None:
    from services.cli.hub.connection import reader
    from services.cli.hub.evicting import evicted
    from services.cli.planning.report import named

    ref = placement(args, "")
    async with reader(args) as (client, _):
        found = await evicted(client, ref, args.target, args.timeout)
    said = f"{ref.namespace}/{ref.name} has left {found.target.removeprefix('/')}, and is in {named(found.now)}"
    sys.stdout.write(printable(said) + "\n")
