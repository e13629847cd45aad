"""`moorage`: one command for people and scripts.

Exit codes: 0 done; 1 it could not be done, or what was checked is not well; 2 the command line, a setting or a file
that they name cannot be used. One line on standard error says why.
"""

import argparse
import errno
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from services.cli.support.errors import CommandError, UsageError
from services.cli.support.output import note

COMMANDS = (
    "demo",
    "up",
    "worker",
    "sandbox",
    "world",
    "schedule",
    "policy",
    "install",
    "uninstall",
    "provision",
    "nats",
    "audit",
    "dead",
    "diagram",
)
"""The modules beside this one that are commands, in the order of the help text."""

DESCRIPTION = """\
Moorage places workloads across workspaces and clusters.

  moorage demo               see it work: everything on this machine, real workloads placed, a cluster lost
  moorage up                 NATS, a sandbox control plane and all workers on this machine, until Ctrl-C
  moorage worker scheduler   one worker, as you would run it in production
"""
EPILOG = """\
`moorage COMMAND --help` explains a command.

Exit codes: 0 it is done; 1 it could not be done, or what was checked is not well; 2 the command line, a setting or a
file cannot be used. With -o json, standard output is JSON and nothing else.
"""


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="moorage",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"moorage {version('moorage')}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        importlib.import_module(f"services.cli.{name}").add_parser(commands)
    return top


def main(argv: Sequence[str] | None = None) -> None:
    """The console script."""
    try:
        code = _run(argv)
    except CommandError as error:
        note(str(error))
        code = error.code
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # `moorage ... | head`
        _drop_output()
        code = 0
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        _drop_output()
        note(f"output cannot be written: {error.strerror}")
        code = UsageError.code
    sys.exit(code)


def _run(argv: Sequence[str] | None) -> int:
    if sys.stdout is None:
        raise UsageError("standard output is closed")
    args = parser().parse_args(argv)
    logging.basicConfig(level="WARNING", format="%(levelname)s %(message)s", stream=sys.stderr)
    code = int(args.run(args))
    sys.stdout.flush()
    return code


def _drop_output() -> None:
    """Let what is still buffered go nowhere: the interpreter would try to write it once more as it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
