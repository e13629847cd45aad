"""`moorage worker NAME`: one worker in the foreground."""

import argparse
import os
import sys
from typing import Any

from services import PIPELINE


def add_parser(commands: Any) -> None:
    """Declare the command; the worker's own settings are added when it is known which one it is."""
    parser = commands.add_parser(
        "worker",
        help="run one worker",
        description="Run one worker in the foreground; any number of copies share the work. "
        "`moorage worker NAME --help` lists its settings.",
        add_help=False,
    )
    parser.add_argument("name", choices=PIPELINE, metavar="NAME", help=", ".join(PIPELINE))
    parser.add_argument(
        "settings", nargs=argparse.REMAINDER, help="settings, as `moorage worker NAME --help` lists them"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Load only the worker that is asked for, and run it."""
    from services.registry import load
    from shared.runner import run_until_stopped
    from shared.settings import parse
    from shared.telemetry import set_up_logging

    worker = load(args.name)
    prog = f"moorage worker {worker.name}"
    settings = parse(worker.settings, args.settings, os.environ, prog=prog, summary=worker.summary)
    set_up_logging(worker.name, settings.log_level, settings.log_format)
    sys.stderr.flush()
    return run_until_stopped([(worker, settings)])
