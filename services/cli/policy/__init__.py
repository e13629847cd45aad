"""`moorage policy`: check rules as admission does, and test them on targets, so that their authors can do so in CI."""

import argparse
from typing import Any

from services.cli.policy import check, diff, trial
from services.cli.support.errors import CommandError, UsageError


def add_parser(subparsers: Any) -> None:
    """Declare the command, and its actions."""
    parser = subparsers.add_parser("policy")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    for module in (check, trial, diff):
        action = module.add_action(actions)
        action.add_argument("-o", "--output", choices=("table", "json"), default="table", help="default: table")
        action.set_defaults(run=run, act=module.act)


def run(args: argparse.Namespace) -> int:
    """Do what is asked for; the exit code is 1 when something is not well.

    Raises UsageError for a file that cannot be used, CommandError where rules cannot be evaluated at present.
    """
    from services.cli.support.manifests import InvalidManifest
    from services.policy.cel.isolation import Unavailable

    try:
        code: int = args.act(args)
    except InvalidManifest as error:
        raise UsageError(str(error)) from None
    except Unavailable as error:
        raise CommandError(str(error)) from None
    return code
