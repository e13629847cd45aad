"""`moorage quota`: how much of the quotas of targets is reserved."""

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from services.cli.support.broker import broker, settings_of
from services.cli.support.output import aligned, amount
from services.cli.support.settings import add_settings

if TYPE_CHECKING:
    from services.cli.diagnosing.quotas import QuotaRow
    from shared.process.settings import NatsSettings

DESCRIPTION = """\
Show how much of each quota is reserved, in each target that has one and in all of them together: spec.quotas of
SyncTargets, which bound what the placements of a workspace, and of all below it, may reserve there. What is reserved
counts from the decision on, whether it runs yet or not.

  moorage quota
  moorage quota root:team-a
  moorage quota -o json | jq '.quotas[] | select(.used > 0.9 * .hard)'

With WORKSPACE, the quotas that it lies in: its own, and those of the workspaces above. A target in which it has no
quota does not bound it, and is not shown. FREE is below 0 where a quota was lowered; what runs stays. It reads what is
in NATS, for which one has to be an operator.

Exit codes: 0; 1 NATS does not answer; 2 the command line cannot be used.
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("quota", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "workspace", metavar="WORKSPACE", nargs="?", default=None, help="path of one, as root:team-a (default: all)"
    )
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="json: in base units")
    add_settings(parser, "NatsSettings")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show them."""
    import asyncio

    import msgspec

    from services.cli.diagnosing.quotas import totals
    from shared.process.settings import NatsSettings

    found = asyncio.run(_found(settings_of(args, NatsSettings), args.workspace))
    if args.output == "json":
        shown = {"quotas": msgspec.to_builtins(found), "totals": msgspec.to_builtins(totals(found))}
        sys.stdout.write(json.dumps(shown, indent=2) + "\n")
    elif found:
        sys.stdout.write("\n".join(aligned(table(found, totals(found)))) + "\n")
    else:
        whom = f" for {args.workspace}" if args.workspace is not None else ""
        sys.stdout.write(f"no target has a quota{whom}\n")
    return 0


async def _found(settings: "NatsSettings", workspace: str | None) -> "list[QuotaRow]":
    from collections import defaultdict

    from services.cli.diagnosing.quotas import rows
    from shared.broker.table import Table
    from shared.model.refs import TargetRef
    from shared.pipeline.buckets import INVENTORY, RESERVATIONS

    async with broker(settings) as (_, store):
        targets = [entry.value for entry in await Table(store, INVENTORY).entries()]
        reserved = defaultdict(list)
        for entry in await Table(store, RESERVATIONS).entries():
            if entry.value.placement.name and not entry.value.released_at:
                reserved[TargetRef.owning(entry.key).id].append(entry.value)
    return rows(targets, reserved, workspace)


def table(found: "list[QuotaRow]", together: "list[QuotaRow]") -> list[list[str]]:
    """The rows of each path and resource, with their sum below them where there are several targets."""
    lines = [["WORKSPACE", "RESOURCE", "TARGET", "USED", "HARD", "FREE"]]
    for total in together:
        some = [each for each in found if (each.workspace, each.resource) == (total.workspace, total.resource)]
        lines += map(_line, some if len(some) == 1 else [*some, total])
    return lines


def _line(row: "QuotaRow") -> list[str]:
    figures = [amount(row.resource, value) for value in (row.used, row.hard, row.free)]
    return [row.workspace or "(all)", row.resource, row.target.removeprefix("/") or "(all)", *figures]
