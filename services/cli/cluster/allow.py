"""`moorage cluster allow`: who may use a cluster."""

import argparse
import sys

from services.cli.cluster.hub import MANAGER, opened
from services.cli.cluster.rights import subjects
from services.cli.support import offering
from services.cli.support.errors import UsageError
from shared.kube.resources import CLUSTERROLEBINDINGS, CLUSTERROLES


async def run(args: argparse.Namespace) -> None:
    """Write role and binding."""
    given = [*map(offering.group, args.group), *map(offering.user, args.user)]
    if not given:
        raise UsageError("say who: --group GROUP or --user USER")
    async with opened(args) as hub:
        await hub.target(args.name)
        known = await subjects(hub, args.name)
        rest = [each for each in known if each not in given]
        who = rest if args.revoke else [*rest, *given]
        role, binding = offering.right(args.name, [args.name], who, entering=bool(hub.workspace))
        await hub.client.apply(CLUSTERROLES, role, field_manager=MANAGER, force=True)
        await hub.client.apply(CLUSTERROLEBINDINGS, binding, field_manager=MANAGER, force=True)
    names = ", ".join(each["name"] for each in binding["subjects"]) or "nobody"
    sys.stdout.write(f"{hub.named(args.name)} may be used by {names}\n")
