"""`moorage rebalance`: have placements look for better targets once, however sticky they are."""

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from services.cli.support.errors import CommandError, UsageError
from services.cli.support.flags import add_placement, add_reader_arguments
from services.cli.support.output import note
from services.cli.support.tenant import duration, placement

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.cli.hub.rebalancing import Rebalanced
    from shared.api import Placement
    from shared.kube.client import Client
    from shared.model.refs import PlacementRef

DESCRIPTION = """\
Have placements look for better targets once, as after a cluster came back or was added: one placement, or all of the
workspace. What runs stays where it is unless a move gains spec.stability.rebalance.by points of score (10, unless said
otherwise), or leads to a better tier; spec.stability.rebalance itself and its cooldown do not matter. A placement is
taken away where it was once it is healthy where it goes. Of one with a spec.stability.disruptionBudget only so many
targets are left at a time.

  moorage rebalance shop/backend
  moorage rebalance --at-once 5 --timeout 1h
  moorage rebalance --dry-run

Whoever may change a Placement may ask it (by the annotation placement.moorage.io/rebalance). Ctrl-C, and --timeout, end
the command; placements that were asked already go on. --dry-run says what would move, decided on paper by the
pipeline's own code; it changes nothing, and reads targets and what is reserved from NATS (MOORAGE_NATS_URL), as
`moorage plan` does, for which one has to be an operator.

Exit codes: 0 all were asked, and are settled (--dry-run: it is told); 1 some were not in time, and are named; 2 the
command line cannot be used.
"""
AT_ONCE = 10
SHOWN = 20  # placements that are named


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "rebalance", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_placement(parser, optional=True)
    parser.add_argument("--dry-run", action="store_true", help="say what would move, and change nothing")
    parser.add_argument(
        "--at-once", type=int, default=AT_ONCE, metavar="N", help=f"placements that move at a time (default: {AT_ONCE})"
    )
    parser.add_argument(
        "--timeout", type=duration, default=600.0, metavar="DURATION", help="how long to wait in all (default: 10m)"
    )
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="json: for scripts")
    add_reader_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Ask them, or say what would happen."""
    import asyncio

    from services.cli.hub.connection import hub_errors

    if args.at_once < 1:
        raise UsageError("--at-once is 1 at least")
    with hub_errors():
        asyncio.run(_foretell(args) if args.dry_run else _rebalance(args))
    return 0


async def _rebalance(args: argparse.Namespace) -> None:
    from services.cli.hub.connection import reader
    from services.cli.hub.rebalancing import rebalanced

    found: list[Rebalanced] = []
    async with reader(args) as (client, _):
        async for each in rebalanced(client, await _asked(args, client), args.at_once, args.timeout):
            found.append(each)
            if args.output == "table":
                sys.stdout.write(sentence(each) + "\n")
                sys.stdout.flush()
    if args.output == "json":
        sys.stdout.write(json.dumps({"placements": [_plain(each) for each in found]}, indent=2) + "\n")
    elif not found:
        sys.stdout.write("there are no placements\n")
    if late := [f"{each.namespace}/{each.name}" for each in found if each.state == "Waits"]:
        more = f" and {len(late) - SHOWN} more" if len(late) > SHOWN else ""
        raise CommandError(f"not settled within {args.timeout:g} s: {', '.join(sorted(late)[:SHOWN])}{more}")


async def _asked(args: argparse.Namespace, client: "Client") -> "Sequence[Placement]":
    """The Placements that the arguments name."""
    from shared.api import Placement
    from shared.hub.resources import PLACEMENTS

    if args.placement:
        ref = placement(args, "")
        return [await client.get(PLACEMENTS, ref.name, ref.namespace, type=Placement)]
    page = await client.list(PLACEMENTS, args.namespace, type=Placement)
    return sorted(page.items, key=lambda each: (each.metadata.namespace, each.metadata.name))


async def _foretell(args: argparse.Namespace) -> None:
    from services.cli.hub.connection import reader
    from services.cli.planning.live import foretold
    from services.cli.planning.report import show
    from services.cli.planning.whatif import WhatIf
    from services.controller.settings import ControllerSettings
    from shared.process.settings import SettingsError, load

    given = {"kubeconfig": str(args.kubeconfig)} if args.kubeconfig else {}
    async with reader(args) as (client, _):
        workspace = client.base.partition("/clusters/")[2]
    if not workspace:
        given["hub"] = "kubernetes"
    try:
        settings = load(ControllerSettings, given, os.environ)
    except SettingsError as error:
        raise UsageError(str(error)) from None
    meant = _meant(args, workspace)
    found, unknown = await foretold(settings, WhatIf(looking=meant), 0.0, lambda path: path == workspace)
    for each in unknown:
        note(each)
    show([each for each in found if meant(each.placement)], args.output)


def _meant(args: argparse.Namespace, workspace: str) -> "Callable[[PlacementRef], bool]":
    """Which placements the arguments name."""
    if args.placement:
        named = placement(args, workspace)
        return lambda ref: ref == named
    return lambda ref: ref.workspace == workspace and args.namespace in ("", ref.namespace)


def sentence(found: "Rebalanced") -> str:
    """What became of one, for people."""
    from services.cli.planning.report import named

    who, before, after = f"{found.namespace}/{found.name}", named(found.before), named(found.after)
    match found.state:
        case "Moved":
            return f"{who}: from {before} to {after}"
        case "Stays":
            return f"{who} stays in {after}"
        case "Skipped":
            return f"{who} is left alone: {found.why}"
        case "Waits":
            return f"{who} is not settled: {found.why}"


def _plain(found: "Rebalanced") -> dict[str, Any]:
    from services.cli.planning.report import as_json

    who = {"namespace": found.namespace, "name": found.name, "state": found.state, "why": found.why}
    return {**who, "from": as_json(found.before), "to": as_json(found.after)}
