"""`moorage sandbox`: the development control plane alone."""

import argparse
from typing import Any


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "sandbox",
        help="run the development control plane alone",
        description="A control plane for development that speaks the Kubernetes and kcp wire protocol.",
        add_help=False,
        prefix_chars="\0",  # nothing is an option here: argparse would refuse those that it does not know
    )
    parser.add_argument("options", nargs=argparse.REMAINDER)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Hand over to the sandbox's own command line."""
    from services.sandbox.__main__ import main

    return main(args.options, prog="moorage sandbox")
