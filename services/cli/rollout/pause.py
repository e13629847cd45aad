"""`moorage rollout pause`: no further target is changed."""

import argparse

from services.cli.rollout.hub import opened, show
from shared.hub.names import PAUSED_ANNOTATION


async def run(args: argparse.Namespace) -> None:
    """Say so on the Placement."""
    async with opened(args) as hub:
        await hub.read()
        await hub.annotate(PAUSED_ANNOTATION, args.reason or "by hand")
        show(args, await hub.read())
