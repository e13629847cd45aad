"""`moorage rollout undo`: back to what was placed before."""

import argparse

from services.cli.rollout.hub import RolloutHub, opened, show
from services.cli.support.errors import CommandError
from services.cli.support.output import note


async def run(args: argparse.Namespace) -> None:
    """Go back. Raises CommandError where that cannot be."""
    from services.cli.rollout.undoing import Irrevocable

    async with opened(args) as hub:
        try:
            said = await undone(hub, args.to, dry_run=args.dry_run)
        except Irrevocable as error:
            raise CommandError(str(error)) from None
        note(said)
        show(args, await hub.read())


async def undone(hub: RolloutHub, to: str = "", *, dry_run: bool = False) -> str:
    """Write what is otherwise than in a revision, or try to; what that is, in one sentence.

    Raises Irrevocable, and what the hub answers.
    """
    from services.cli.rollout.undoing import changes, chosen, spec_patch

    placement, current = await hub.placement(), (await hub.read()).revision
    revision = chosen(hub.ref.name, await hub.revisions(), current, to)
    objects = [each for each in revision.spec.objects if each.source != "Manifest"]
    now = [(each, await hub.found(each.ref)) for each in objects]
    written, patch = changes(revision.spec.revision, now), spec_patch(placement, revision)
    for trying in (True,) if dry_run else (True, False):
        for change in written:
            await hub.write(change, dry_run=trying)
    if patch and not dry_run:
        await hub.change(placement, patch)
    what = [*(change.name for change in written), *(f"spec.{name} of the Placement" for name in patch)]
    ends = "would be as they were" if dry_run else "are as they were"
    return (
        f"{', '.join(what)} {ends} in revision {revision.spec.revision}" if what else "nothing is otherwise than it was"
    )
