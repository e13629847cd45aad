"""`moorage withdraw`: ask over NATS that a placement is deleted, and what it placed removed."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from services.cli.support.broker import connection, settings_of
from services.cli.support.flags import add_placement
from services.cli.support.output import note
from services.cli.support.settings import add_settings
from services.cli.support.tenant import SIGN_IN, duration, placement, subject

if TYPE_CHECKING:
    from services.cli.support.identity import AskerSettings

DESCRIPTION = f"""\
Ask over NATS that a Placement is deleted, without access to the hub, as the user who asks; what it placed is removed
from the targets. It is answered once it is being deleted; with --wait, it ends once nothing of it is left anywhere.
That there is none is as good.

  moorage withdraw shop/backend --workspace root:shop --user alice --wait
  moorage withdraw backend -n shop -o json

The objects that the Placement selects stay in the workspace. With --id, asking again is the same request: it is done
once, however often it is asked within a day.

{SIGN_IN}
Exit codes: 0 it is accepted (with --wait: Removed); 1 it is rejected, not answered, or not Removed within --timeout; 2
the command line cannot be used.
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "withdraw",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_placement(parser)
    parser.add_argument("--wait", action="store_true", help="show its events as they come, until all of it is Removed")
    parser.add_argument(
        "--timeout", type=duration, default=300.0, metavar="DURATION", help="how long --wait waits (default: 5m)"
    )
    parser.add_argument("--id", default="", help="id of the request (default: a new one)")
    parser.add_argument(
        "-o", "--output", choices=("text", "json"), default="text", help="json: CloudEvents, one a line"
    )
    add_settings(parser, "AskerSettings")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Ask, and say what was answered."""
    import asyncio

    from services.cli.support.identity import AskerSettings

    asyncio.run(_withdraw(args, settings_of(args, AskerSettings)))
    return 0


async def _withdraw(args: argparse.Namespace, settings: "AskerSettings") -> None:
    from services.cli.support.asking import carried_out
    from services.cli.support.following import until
    from services.cli.support.showing import shower
    from shared.cloudevents import structured

    where, ref = subject(settings, "withdraw"), placement(args, settings.workspace)
    async with connection(settings) as client:
        answer = await carried_out(client, "withdraw", where, {"namespace": ref.namespace, "name": ref.name}, args.id)
        if args.output == "json":
            sys.stdout.write(structured(answer.event).decode() + "\n")
        else:
            sys.stdout.write(f"{ref.namespace}/{ref.name} {'is being removed' if answer.uid else 'is not there'}\n")
        sys.stdout.flush()
        if args.wait and answer.uid:
            await until(client, ref, "Removed", args.timeout, shower(args.output), answer.uid)
        elif answer.uid and args.output != "json":
            note(f"until nothing of it is left: moorage wait {ref.namespace}/{ref.name} --for Removed")
