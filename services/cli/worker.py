"""`moorage worker NAME`: one worker in the foreground."""

import argparse
import sys
from typing import Any

from services import PIPELINE
from services.cli.support.settings import add_worker


def add_parser(commands: Any) -> None:
    """Declare the command, and the settings of the worker that is named."""
    parser = commands.add_parser(
        "worker",
        usage="moorage worker NAME [SETTING ...]",
        description="Run one worker in the foreground; any number of copies share the work. "
        "`moorage worker NAME --help` lists its settings.",
    )
    names = parser.add_subparsers(title="workers", metavar="NAME", required=True, dest="name")
    for name in PIPELINE:
        each = names.add_parser(name, prog=f"moorage worker {name}", usage="%(prog)s [--help] [SETTING ...]")
        if commands.words is None or name in commands.words:
            add_worker(each, name)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Load only the worker that is asked for, and run it."""
    from services.cli.support.broker import settings_of
    from services.registry import load
    from shared.pipeline.process import run_workers
    from shared.process.logs import set_up_logging

    worker = load(args.name)
    settings = settings_of(args, worker.settings)
    set_up_logging(worker.name, settings.log_level, settings.log_format)
    sys.stderr.flush()
    return run_workers([(worker, settings)])
