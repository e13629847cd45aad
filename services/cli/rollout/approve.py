"""`moorage rollout approve`: have a step begin that waits for it."""

import argparse

from services.cli.rollout.hub import opened, show
from services.cli.support.errors import CommandError
from shared.hub.names import APPROVED_ANNOTATION
from shared.hub.rollout import approval


async def run(args: argparse.Namespace) -> None:
    """Say so on the Placement."""
    async with opened(args) as hub:
        found = await hub.read()
        if args.revision not in ("", found.revision):
            raise CommandError(f"the revision of {hub.where} is {found.revision} by now, not {args.revision}")
        if found.state != "AwaitsApproval":
            raise CommandError(f"nothing waits for approval: the rollout of {hub.where} is {found.state}")
        await hub.annotate(APPROVED_ANNOTATION, approval(found.revision, found.step))
        show(args, await hub.read())
