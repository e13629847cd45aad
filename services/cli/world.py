"""`moorage world apply`: make a world usable: our CRDs in its workspaces, its clusters offered as SyncTargets."""

import argparse
import sys
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "world",
        description="Install Moorage's CRDs in the workspaces of a world file, and offer its clusters there: "
        "a SyncTarget, a Secret with the kubeconfig, and RBAC for who may use it. Idempotent.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    apply = actions.add_parser("apply", help="do so", description="Apply a world file to a hub; may be repeated.")
    apply.add_argument("--world", type=Path, required=True, help="the world file, for example examples/world.yaml")
    apply.add_argument("--kubeconfig", type=Path, required=True, help="kubeconfig of an administrator of the hub")
    apply.add_argument("--targets", type=Path, required=True, help="folder with a target-NAME.kubeconfig per cluster")
    apply.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Apply the world file."""
    import asyncio

    from services.cli.hub.connection import hub_errors
    from services.cli.support import offers

    with hub_errors():
        count = asyncio.run(offers.apply(offers.read(args.world), args.kubeconfig, args.targets))
    sys.stdout.write(f"{count} clusters are offered\n")
    return 0
