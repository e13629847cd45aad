"""`moorage place`: ask over NATS that something is placed."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from services.cli.support.broker import connection, settings_of
from services.cli.support.flags import add_application, add_file, asked_for
from services.cli.support.output import note
from services.cli.support.settings import add_settings
from services.cli.support.tenant import SIGN_IN, duration, subject

if TYPE_CHECKING:
    from services.cli.support.identity import AskerSettings

DESCRIPTION = f"""\
Ask over NATS that something is placed, without access to the hub: the Placement in the file is made or changed there,
after the other objects in it, as the user who asks. It is answered once that is written; with --wait, it ends once all
is Ready.

  moorage place -f examples/events/hello.yaml --workspace root:team-a --user alice --wait
  cat placement.json | moorage place -f - --workspace root:team-a --user alice -o json

With --name, files hold no Placement: one is made of all their objects, as a chart renders them. Workloads and what
belongs to them are made in the workspace and selected; definitions, custom resources, roles and what has no namespace
come inline. Some of these are placed only where the owner of the target lists their kind.

  helm template shop ./chart | moorage place -f - --name shop -n shop --to region=eu --count 2

With --id, asking again is the same request: it is done once, however often it is asked within a day.

{SIGN_IN}
Exit codes: 0 it is accepted (with --wait: Ready); 1 it is rejected, not answered, or not Ready within --timeout; 2 the
command line or a file cannot be used.
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "place",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_file(parser)
    add_application(parser)
    parser.add_argument("--wait", action="store_true", help="show its events as they come, until it is Ready")
    parser.add_argument(
        "--timeout", type=duration, default=300.0, metavar="DURATION", help="how long --wait waits (default: 5m)"
    )
    parser.add_argument("--id", default="", help="id of the request (default: a new one)")
    parser.add_argument("--hold", default="", metavar="ID", help="take over what `moorage decide --reserve` holds")
    parser.add_argument(
        "-o", "--output", choices=("text", "json"), default="text", help="json: CloudEvents, one a line"
    )
    add_settings(parser, "AskerSettings")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Ask, and say what was answered."""
    import asyncio

    from services.cli.support.identity import AskerSettings

    settings = settings_of(args, AskerSettings)
    where = subject(settings, "place")
    data = asked_for(args) | ({"hold": args.hold} if args.hold else {})
    asyncio.run(_place(args, settings, where, data))
    return 0


async def _place(args: argparse.Namespace, settings: "AskerSettings", where: str, data: dict[str, Any]) -> None:
    from services.cli.support.asking import carried_out
    from services.cli.support.following import until
    from services.cli.support.showing import shower
    from shared.cloudevents import structured

    async with connection(settings) as client:
        answer = await carried_out(client, "place", where, data, args.id)
        ref = answer.placement
        assert ref is not None  # of what was accepted
        if args.output == "json":
            sys.stdout.write(structured(answer.event).decode() + "\n")
        else:
            sys.stdout.write(f"{ref.namespace}/{ref.name} accepted, generation {answer.generation}\n")
        sys.stdout.flush()
        if args.wait:
            show = shower(args.output)
            await until(client, ref, "Ready", args.timeout, show, answer.uid, answer.generation)
        elif args.output != "json":
            note(f"what becomes of it: moorage events {ref.namespace}/{ref.name} --follow")
