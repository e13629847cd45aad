"""`moorage version`: which version this is."""

import argparse
import json
import platform
import sys
from typing import Any


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("version", description="Print the version of Moorage, and of the Python that runs it.")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="default: text")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print it."""
    from importlib.metadata import version

    found = {"moorage": version("moorage"), "python": platform.python_version()}
    text = json.dumps(found) if args.output == "json" else f"moorage {found['moorage']} (Python {found['python']})"
    sys.stdout.write(f"{text}\n")
    return 0
