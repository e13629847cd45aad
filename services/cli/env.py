"""`moorage env`: where the system is that `moorage up` runs, or that a context names, as variables for a shell."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.cli.support.contexts import NAME_VARIABLE, changes, endpoints, named, of_folder, read
from services.cli.support.errors import UsageError
from services.cli.support.local import DEFAULT_DATA

if TYPE_CHECKING:
    from services.cli.support.plan import Endpoints

DESCRIPTION = """\
Print where everything is that `moorage up` runs, as variables that all commands and kubectl read:

  eval "$(moorage env)"                    # as the hub's administrator
  eval "$(moorage env --user shirin)"      # as a user of the world
  moorage env --shell fish | source
  eval "$(moorage env --context prod)"     # where a context leads (`moorage context`), in this shell alone
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("env", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data",
        type=Path,
        default=DEFAULT_DATA,
        metavar="FOLDER",
        help=f"the folder of that `moorage up` (default: {DEFAULT_DATA})",
    )
    parser.add_argument("--context", default="", metavar="NAME", help="a context, instead of that folder")
    parser.add_argument("--user", default="", metavar="NAME", help="a user of the world (default: the administrator)")
    parser.add_argument("--shell", choices=("sh", "fish"), default="sh", help="bash and zsh read sh (default: sh)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print them."""
    if args.context and args.user:
        raise UsageError("--user is for the users of a world, and not with --context")
    found = of_context(args.context) if args.context else variables(endpoints(args.data), args.user)
    for name, value in found.items():
        line = f"set -gx {name} {shlex.quote(value)}" if args.shell == "fish" else f"export {name}={shlex.quote(value)}"
        sys.stdout.write(f"{line}\n")
    return 0


def variables(place: "Endpoints", user: str) -> dict[str, str]:
    """What stands for a place, as that user; empty: as the administrator. Raises UsageError for an unknown user."""
    return {name: value for name, value in changes(of_folder(place, user), {}, {}, asked_for=True).items() if value}


def of_context(name: str) -> dict[str, str]:
    """What has commands and kubectl go where a context leads: its name alone, as secrets are printed nowhere."""
    context = named(name, read()[1])
    kubeconfig = {"KUBECONFIG": context["kubeconfig"]} if "kubeconfig" in context else {}
    return {NAME_VARIABLE: name, **kubeconfig}
