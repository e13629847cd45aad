"""`moorage requests`: where requests are published."""

import argparse
import sys
from typing import Any

from services.cli.support.broker import settings_of
from services.cli.support.settings import add_settings
from services.cli.support.tenant import subject
from shared.model.words import VERBS

DESCRIPTION = """\
Print the subject on which a request is published, for programs that speak to NATS themselves (docs/publish.md). It says
for which workspace and as whom one asks, each as one token, in which every byte but A-Za-z0-9_- is written =XX.

  moorage requests subject place --workspace root:team-a --user alice
  moorage.requests.root=3Ateam-a.alice.place

NATS is not asked. Exit codes: 0 printed; 2 the command line cannot be used.
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("requests")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    found = actions.add_parser(
        "subject",
        help="print the subject of a request",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("verb", choices=VERBS, metavar="VERB", help=", ".join(VERBS))
    add_settings(found, "AskerSettings")
    found.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print it."""
    from services.cli.support.identity import AskerSettings

    sys.stdout.write(subject(settings_of(args, AskerSettings), args.verb) + "\n")
    return 0
