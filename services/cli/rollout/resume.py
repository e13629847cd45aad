"""`moorage rollout resume`: a rollout that was paused goes on."""

import argparse

from services.cli.rollout.hub import opened, show
from shared.hub.names import PAUSED_ANNOTATION


async def run(args: argparse.Namespace) -> None:
    """Take it back."""
    async with opened(args) as hub:
        await hub.read()
        await hub.annotate(PAUSED_ANNOTATION, None)
        show(args, await hub.read())
