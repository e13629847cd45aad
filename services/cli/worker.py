"""`moorage worker NAME`: one worker in the foreground."""

import argparse
import sys
from typing import Any

from services import BESIDE, PIPELINE
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
    for name in (*PIPELINE, *BESIDE):
        each = names.add_parser(name, prog=f"moorage worker {name}", usage="%(prog)s [--help] [SETTING ...]")
        if commands.words is None or name in commands.words:
            add_worker(each, name)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Load only the worker that is asked for, and run it."""
    if args.name in BESIDE:
        return _run_beside(args)
    from services.cli.support.broker import settings_of
    from services.registry import load
    from shared.pipeline.process import run_workers
    from shared.process.logs import set_up_logging

    worker = load(args.name)
    settings = settings_of(args, worker.settings)
    set_up_logging(worker.name, settings.log_level, settings.log_format)
    sys.stderr.flush()
    return run_workers([(worker, settings)])


def _run_beside(args: argparse.Namespace) -> int:
    """The agent, which is no part of the pipeline."""
    from services.cli.support.broker import settings_of
    from services.tunnel.process import run as run_agent
    from services.tunnel.settings import TunnelSettings
    from shared.process.logs import set_up_logging

    settings = settings_of(args, TunnelSettings)
    set_up_logging(args.name, settings.log_level, settings.log_format)
    return run_agent(settings)
