"""`moorage rollout`: how far a change is, and whether it goes on. docs/rollout.md shows it.

status             how far it is
pause, resume      whether it goes on to further targets
approve            a step that is to be approved
undo               back to what was placed before; undoing.py: what that takes (pure)

flags.py           what each says of itself, and its flags
picture.py         what is shown of a rollout, from what is on the hub (pure); hub.py reads and writes there
"""

import argparse
import importlib
from typing import Any

from services.cli.rollout.flags import FLAGS
from services.cli.support.flags import add_placement, add_reader_arguments

COMMANDS = {
    "status": "how far a change is, and what it waits for",
    "pause": "have no further target changed",
    "resume": "have a rollout that was paused go on",
    "approve": "have a step begin that waits for approval",
    "undo": "go back to what was placed before",
}
"""The modules of this folder that are commands, with a line each, in the order of the help text."""


def add_parser(commands: Any) -> None:
    """Declare the command, and those below it."""
    parser = commands.add_parser(
        "rollout",
        description="Changes of what is placed, on their way from target to target (`spec.rollout` of a Placement). "
        "docs/rollout.md shows one.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, text in COMMANDS.items():
        action = actions.add_parser(name, help=text, formatter_class=argparse.RawDescriptionHelpFormatter)
        add_placement(action)
        FLAGS[name](action)
        action.add_argument(
            "-o", "--output", choices=("table", "json"), default="table", help="json: for scripts (default: table)"
        )
        add_reader_arguments(action)
        action.set_defaults(run=run, action=name)


def run(args: argparse.Namespace) -> int:
    """Do what the action does."""
    import asyncio

    from services.cli.hub.connection import hub_errors

    with hub_errors():
        asyncio.run(importlib.import_module(f"services.cli.rollout.{args.action}").run(args))
    return 0
