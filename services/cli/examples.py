"""`moorage examples`: the files that the pages speak of, for who has no checkout."""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from services.cli.support.errors import CommandError, UsageError
from services.cli.support.examples import EXAMPLES

DEFAULT_FOLDER = Path("examples")


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "examples",
        description="Write the examples into a folder that is not there yet: worlds, applications, Placements, "
        "policies, programs that ask over NATS. The tutorial and `moorage up --world examples/world.yaml` use them.",
    )
    parser.add_argument(
        "folder", type=Path, nargs="?", default=DEFAULT_FOLDER, help=f"where to (default: {DEFAULT_FOLDER})"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Copy them, and say where they are."""
    if args.folder.exists():
        raise UsageError(f"{args.folder} is there already; name another folder, or remove it")
    try:
        shutil.copytree(EXAMPLES, args.folder)
    except OSError as error:
        raise CommandError(f"{args.folder} cannot be written: {error.strerror or error}") from None
    sys.stdout.write(f"{args.folder}\n")
    return 0
