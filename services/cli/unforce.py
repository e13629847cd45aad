"""`moorage unforce`: take operators' overrides back."""

import argparse
import difflib
import sys
from typing import Any

from services.cli.support.errors import CommandError
from services.cli.support.flags import add_reader_arguments
from services.cli.support.output import printable

DESCRIPTION = """\
Take overrides (PlacementOverrides) back, by their names, as `moorage force` and `moorage exclude` said them and
`moorage explain` shows them. The placements are decided anew as if they had never been; what runs stays where it may.

  moorage unforce force-shop-backend

Without a name, it lists those of the workspace. Exit codes: 0 done; 1 there is none of that name, or it may not be
deleted; 2 the command line cannot be used.
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "unforce", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="name of a PlacementOverride")
    add_reader_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Delete them, or list what there is."""
    import asyncio

    from services.cli.hub.connection import hub_errors

    with hub_errors():
        asyncio.run(_taken_back(args))
    return 0


async def _taken_back(args: argparse.Namespace) -> None:
    from services.cli.hub.connection import reader
    from shared.api import decode_override, get_condition
    from shared.hub.resources import OVERRIDES

    async with reader(args) as (client, _):
        found = {each.metadata.name: each for each in map(decode_override, (await client.list(OVERRIDES)).items)}
        if not args.names:
            for name, each in sorted(found.items()):
                said = get_condition(each.status.conditions, "Accepted")
                state = "not seen yet" if said is None else said.reason
                targets = ", ".join(target.name for target in each.spec.targets)
                ends = each.spec.expires_at or "taken back"
                line = f"{name}: {each.spec.type} {targets}, {state}, until {ends}: {each.spec.reason}"
                sys.stdout.write(f"{printable(line)}\n")
            return
        missing = [name for name in args.names if name not in found]
        if missing:  # before anything is taken back
            near = difflib.get_close_matches(missing[0], found, n=2)
            hint = f"; did you mean {' or '.join(near)}?" if near else "; `moorage unforce` lists them"
            raise CommandError(f"there is no override {missing[0]}{hint}")
        for name in args.names:
            await client.delete(OVERRIDES, name)
            sys.stdout.write(f"{name} is taken back\n")
