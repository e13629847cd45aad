"""`moorage install kubernetes` and `kcp`: what a hub needs before workers can run: its kinds, rights, admission."""

import argparse
from typing import Any

from services.cli.hub import exporting
from services.cli.support.flags import add_hub_argument


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("install")
    hubs = parser.add_subparsers(title="hubs", metavar="HUB", required=True)
    kubernetes = hubs.add_parser(
        "kubernetes",
        help="a plain Kubernetes cluster",
        description="Apply what the workers need on a plain Kubernetes hub, by server-side apply: CRDs, the namespace "
        "moorage-system with a ServiceAccount and rights per worker, and the admission policies: they record who asks "
        "for a Placement, and have Moorage alone write what it decides. Idempotent; run it again to upgrade. Workers "
        "themselves come by deploy/kubernetes.",
    )
    add_hub_argument(kubernetes)
    kubernetes.add_argument("--dry-run", action="store_true", help="print the manifests and change nothing")
    kubernetes.add_argument(
        "-o", "--output", choices=("text", "yaml"), default="text", help="yaml: the objects as they are afterwards"
    )
    kubernetes.add_argument(
        "--without-admission",
        action="store_true",
        help="for Kubernetes before 1.36: nobody records who asks for a Placement, so discovery, decision and "
        "binding must run with MOORAGE_AUTHORIZATION=AllowAll, and whoever may write a decision decides",
    )
    kubernetes.add_argument(
        "--force-conflicts", action="store_true", help="take over fields that another field manager has set otherwise"
    )
    kubernetes.set_defaults(run=run)
    exporting.add_arguments(
        hubs.add_parser(
            "kcp",
            help="the workspace of a kcp from which its tree gets Moorage's APIs",
            description="Apply, in a workspace that is made where it is not there, what offers Moorage's APIs to the "
            "workspaces of a kcp (0.32 or newer), by server-side apply: schemas and APIExport, who may bind it, what "
            "consumers and workers may do with its kinds at most, and the admission policies. Idempotent; run it again "
            "to upgrade. Each workspace that is to use Moorage binds it by moorage bind.",
        )
    )


def run(args: argparse.Namespace) -> int:
    """Apply everything, or print it."""
    from services.cli.hub.installing import install

    return install(args)
