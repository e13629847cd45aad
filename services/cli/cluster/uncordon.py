"""`moorage cluster uncordon`: a cluster that takes placements again, after a cordon or a drain."""

import argparse
import sys

import msgspec

from services.cli.cluster.hub import opened
from services.cli.cluster.picture import taint_text
from services.cli.support.output import note
from shared.hub.names import DRAIN_TAINT


async def run(args: argparse.Namespace) -> None:
    """Take the marks off."""
    async with opened(args) as hub:
        found = await hub.target(args.name)
        kept = [taint for taint in found.spec.taints if taint.key != DRAIN_TAINT]
        if found.spec.unschedulable or len(kept) < len(found.spec.taints):
            taints = [msgspec.to_builtins(taint) for taint in kept] or None
            await hub.change(found, {"unschedulable": None, "taints": taints})
    for taint in kept:
        note(f"it still has the taint {taint_text(taint)}")
    sys.stdout.write(f"{hub.named(args.name)} takes placements again\n")
