"""`moorage force`: an operator's override that has a placement run in a target, whatever it scores."""

import argparse
from typing import Any

from services.cli.hub import overriding
from services.cli.support.flags import add_placement
from services.cli.support.tenant import placement

DESCRIPTION = """\
Have a placement run in these targets, whatever they score and the Placement itself selects (a PlacementOverride of type
Force). They are among its targets; where more are wanted, the others are chosen as before. What the targets and their
owners, policies and quotas say still holds, and the room there is, unless --over-commit says otherwise.

  moorage force backend west-1 -n shop --reason "east burns" --for 2h
  moorage force shop/backend root:platform/west-1 --workspace root:team --reason "test of the standby"

It takes the verb `override` on the Placement, see docs/overrides.md. Called again, it replaces what it wrote before.

Exit codes: 0 it is in force; 1 it is refused, not in force, or no controller says so; 2 the command line cannot be
used.
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("force", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_placement(parser)
    parser.add_argument("targets", metavar="TARGET", nargs="+", help="NAME, or WORKSPACE/NAME")
    parser.add_argument(
        "--over-commit", action="store_true", help="also where there is too little room: what runs there may suffer"
    )
    overriding.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write it."""
    ref = placement(args, "")
    spec: dict[str, Any] = {
        "type": "Force",
        "placementRef": {"namespace": ref.namespace, "name": ref.name},
        "targets": [overriding.reference(each) for each in args.targets],
        **({"overCommit": True} if args.over_commit else {}),
    }
    return overriding.run(args, overriding.named("force", ref.namespace, ref.name), spec)
