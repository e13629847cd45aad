"""`moorage events`: what became of placements, as NATS has it."""

import argparse
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from services.cli.support.broker import connection, settings_of
from services.cli.support.flags import add_placement
from services.cli.support.output import note
from services.cli.support.settings import add_settings
from services.cli.support.tenant import SIGN_IN, duration, placement

if TYPE_CHECKING:
    from services.cli.support.identity import TenantSettings

DESCRIPTION = f"""\
Show what became of placements: one line per event, the oldest first.

  moorage events --workspace root:shop                          the last hour, all placements of the workspace
  moorage events shop/backend --workspace root:shop --follow    one placement, and what comes, until Ctrl-C
  moorage events --workspace root:shop --since 24h -o json      CloudEvents, one a line, for programs

{SIGN_IN}
Exit codes: 0 also where there are no events; 1 NATS cannot be reached, or refuses; 2 the command line cannot be used.
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "events",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_placement(parser, optional=True)
    parser.add_argument(
        *("-f", "--follow", "-w", "--watch"),
        dest="follow",
        action="store_true",
        help="stay, and show events as they come, until Ctrl-C",
    )
    parser.add_argument(
        "--since", type=duration, default=3600.0, metavar="DURATION", help="how far back, as in 30m (default: 1h)"
    )
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="json: for programs")
    add_settings(parser, "TenantSettings")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show them."""
    import asyncio

    from services.cli.support.identity import TenantSettings

    settings = settings_of(args, TenantSettings)
    asyncio.run(_show(args, settings))
    return 0


async def _show(args: argparse.Namespace, settings: "TenantSettings") -> None:
    from services.cli.support.following import follow_events, subject
    from services.cli.support.showing import shower

    namespace, name = args.namespace, ""
    if args.placement:
        ref = placement(args, settings.workspace)
        namespace, name = ref.namespace, ref.name
    subjects = subject(settings.workspace, namespace, name)
    show = shower(args.output)
    shown = False
    async with connection(settings) as client, aclosing(follow_events(client, subjects, args.since)) as events:
        async for event in events:
            if event is not None:
                show(event)
                shown = True
                continue
            if not shown:
                note(f"no events yet on {subjects}" + ("" if settings.workspace else "; on kcp, say --workspace"))
            if not args.follow:
                return
