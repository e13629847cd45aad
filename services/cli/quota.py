"""`moorage quota`: how much of quotas is used, of those over all clusters and of those of targets."""

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from services.cli.support.broker import broker, settings_of
from services.cli.support.output import aligned, amount
from services.cli.support.settings import add_settings

if TYPE_CHECKING:
    from services.cli.diagnosing.quotas import BoundRow, QuotaRow
    from shared.process.settings import NatsSettings

DESCRIPTION = """\
Show how much of each quota is used. First of those over all clusters (PlacementQuotas), which bound what the placements
of a workspace, and of all below it, may take together, wherever they are. Then of those that targets have, in each and
in all of them together: spec.quotas of SyncTargets, which bound what may be reserved there. What is reserved counts
from the decision on, whether it runs yet or not; what is to be removed until it is gone.

  moorage quota
  moorage quota root:team-a
  moorage quota -o json | jq '(.quotas + .overAll)[] | select(.used > 0.9 * .hard)'

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

    over_all, found = asyncio.run(_found(settings_of(args, NatsSettings), args.workspace))
    together = totals(found)
    if args.output == "json":
        shown = {"overAll": over_all, "quotas": found, "totals": together}
        sys.stdout.write(json.dumps(msgspec.to_builtins(shown), indent=2) + "\n")
        return 0
    whom = f" for {args.workspace}" if args.workspace is not None else ""
    tables = [aligned(bounding(over_all))] if over_all else []
    tables += [aligned(table(found, together))] if found else [[f"no target has a quota{whom}"]]
    sys.stdout.write("\n\n".join("\n".join(lines) for lines in tables) + "\n")
    return 0


async def _found(settings: "NatsSettings", workspace: str | None) -> "tuple[list[BoundRow], list[QuotaRow]]":
    from collections import defaultdict

    from services.cli.diagnosing.quotas import bounds, rows
    from shared.broker.table import Table
    from shared.model.refs import TargetRef
    from shared.pipeline.buckets import CHARGES, INVENTORY, QUOTAS, RESERVATIONS

    async with broker(settings) as (_, store):
        targets = [entry.value for entry in await Table(store, INVENTORY).entries()]
        reserved = defaultdict(list)
        for entry in await Table(store, RESERVATIONS).entries():
            if entry.value.placement.name and not entry.value.released_at:
                reserved[TargetRef.owning(entry.key).id].append(entry.value)
        quotas = [entry.value for entry in await Table(store, QUOTAS).entries()]
        charges = defaultdict(list)
        for entry in await Table(store, CHARGES).entries() if quotas else ():
            charges[".".join(entry.key.split(".")[:2])].append(entry.value)
    return bounds(quotas, charges, workspace), rows(targets, reserved, workspace)


def bounding(found: "list[BoundRow]") -> list[list[str]]:
    """The rows of quotas over all clusters."""
    lines = [["WORKSPACE", "NAMESPACE", "RESOURCE", "QUOTA", "USED", "HARD", "FREE"]]
    for row in found:
        figures = [amount(row.resource, value) for value in (row.used, row.hard, row.free)]
        lines.append([row.workspace or "(all)", row.namespace or "(all)", row.resource, row.quota, *figures])
    return lines


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
