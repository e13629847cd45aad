"""`moorage audit`: whether anything is given twice."""

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from services.cli.support.broker import broker, settings_of
from services.cli.support.output import aligned
from services.cli.support.settings import add_settings

if TYPE_CHECKING:
    from services.cli.hub.auditor import Discrepancy
    from shared.process.settings import HubSettings

DESCRIPTION = """\
Compare what is reserved, decided and bound with what is in the targets, and name what must not be:

  OverReserved, OverApplied     a target has less than is reserved in it, or than what was placed there requests
  AppliedBeyondReservation      something requests in a target what was decided, and less is reserved for it
  AppliedBeyondDecision         something requests more in a target than was decided and than is reserved
  DecidedWithoutReservation     a target is selected, and nothing reserved there
  ReservedWithoutDecision       something is reserved that was not decided, for more than a minute
  AppliedWithoutBinding         something was placed that no PlacementBinding knows of
  NotSeen                       a workspace or a target that could not be looked at

While there is work under way, the last four come and go: look again. The first four must never be seen; a target that
became smaller than what it was given is OverReserved as well.

It changes nothing. It needs a kubeconfig that may read decisions, bindings and the kubeconfig Secrets of targets.
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "audit",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="json: for scripts")
    add_settings(parser, "HubSettings")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Look, and print what was found: 0 when that is nothing, 1 when it is something."""
    import asyncio

    from services.cli.hub.connection import hub_errors
    from shared.process.settings import HubSettings

    with hub_errors():
        findings = asyncio.run(_findings(settings_of(args, HubSettings)))
    if args.output == "json":
        import msgspec

        sys.stdout.write(json.dumps({"findings": msgspec.to_builtins(findings)}, indent=2) + "\n")
    elif findings:
        rows = [(each.code, each.target or "-", each.placement or "-", each.message) for each in findings]
        sys.stdout.write("\n".join(aligned([("WHAT", "TARGET", "PLACEMENT", "WHY"), *rows])) + "\n")
    else:
        sys.stdout.write("nothing is given twice\n")
    return 1 if findings else 0


async def _findings(settings: "HubSettings") -> "list[Discrepancy]":
    from services.cli.hub.auditor import audit
    from services.cli.hub.evidence import witness

    async with broker(settings) as (_, store), witness(settings, store) as here:
        return audit(await here.look())
