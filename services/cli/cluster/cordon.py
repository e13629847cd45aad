"""`moorage cluster cordon`: a cluster that takes nothing new."""

import argparse
import sys

from services.cli.cluster.hub import opened


async def run(args: argparse.Namespace) -> None:
    """Mark it."""
    async with opened(args) as hub:
        found = await hub.target(args.name)
        if not found.spec.unschedulable:
            await hub.change(found, {"unschedulable": True})
    sys.stdout.write(f"{hub.named(args.name)} takes nothing new\n")
