"""`moorage rollout status`: how far a change is."""

import argparse
import time

from services.cli.rollout.hub import opened, show
from services.cli.support.errors import CommandError

_PAUSE = 0.5  # seconds between two looks


async def run(args: argparse.Namespace) -> None:
    """Show it, once it is as is asked for. Raises CommandError where that takes too long."""
    import asyncio

    deadline = time.monotonic() + args.timeout
    async with opened(args) as hub:
        found = await hub.read()
        while args.state not in (None, found.state):
            if time.monotonic() >= deadline:
                raise CommandError(f"the rollout of {hub.where} is {found.state} and not {args.state}: {found.message}")
            await asyncio.sleep(_PAUSE)
            found = await hub.read()
        show(args, found)
