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
        usage="moorage worker NAME [SETTING ...]",
        description="Run one worker in the foreground; any number of copies share the work. "
        "`moorage worker NAME --help` lists its settings.",
    )
    names = parser.add_subparsers(title="workers", metavar="NAME", required=True, dest="name")
    for name in PIPELINE:
        # Its flags are read by `run`, which loads this one worker: argparse takes all that follows as it is.
        each = names.add_parser(name, add_help=False, prefix_chars="\0")
        each.add_argument("settings", nargs=argparse.REMAINDER)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Load only the worker that is asked for, and run it."""
    from services.registry import load
    from shared.pipeline.process import run_workers
    from shared.process.logs import set_up_logging
    from shared.process.settings import parse

    worker = load(args.name)
    prog = f"moorage worker {worker.name}"
    settings = parse(worker.settings, args.settings, os.environ, prog=prog, summary=worker.summary)
    set_up_logging(worker.name, settings.log_level, settings.log_format)
    sys.stderr.flush()
    return run_workers([(worker, settings)])
