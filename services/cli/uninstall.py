"""`moorage uninstall kubernetes` and `kcp`: take back what `moorage install` applied; what was placed stays."""

import argparse
from typing import Any

from services.cli.hub import exporting
from services.cli.support.flags import add_hub_argument


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("uninstall")
    hubs = parser.add_subparsers(title="hubs", metavar="HUB", required=True)
    kubernetes = hubs.add_parser(
        "kubernetes",
        help="a plain Kubernetes cluster",
        description="Take back rights and admission policies, and with --crds the CRDs with all their objects. What "
        "was placed in target clusters is never touched, and the namespace moorage-system stays, since it may hold "
        "Secrets of yours. Refused while workers run there, and while there are Placements: deleting those first has "
        "the workers remove what they placed.",
    )
    add_hub_argument(kubernetes)
    kubernetes.add_argument("--crds", action="store_true", help="the CRDs too: every Placement, SyncTarget, ... goes")
    kubernetes.add_argument(
        "--force", action="store_true", help="although there are Placements: what they placed stays where it is"
    )
    kubernetes.set_defaults(run=run)
    exporting.add_removal_arguments(
        hubs.add_parser(
            "kcp",
            help="the workspace of a kcp from which its tree gets Moorage's APIs",
            description="Take back the APIExport with its schemas, rights and admission policies. Refused while a "
            "workspace has bound it: there, delete the Placements first, then the APIBinding. The workspace stays.",
        )
    )


def run(args: argparse.Namespace) -> int:
    """Take it back, or say why not."""
    from services.cli.hub.uninstalling import uninstall

    return uninstall(args)
