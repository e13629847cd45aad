"""`moorage plan`: what would become of placements if something changed."""

import argparse
import time
from typing import TYPE_CHECKING, Any

from services.cli.support.errors import UsageError
from services.cli.support.files import add_files, read_all
from services.cli.support.output import note
from services.cli.support.settings import add_settings
from services.cli.support.tenant import duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.cli.offline.changes import PlannedChange
    from services.cli.offline.objects import Manifest
    from services.cli.planning.whatif import WhatIf
    from services.controller.settings import ControllerSettings

DESCRIPTION = """\
Say what would become of placements if something changed: which would move, from where to where, which would be refused
and why. Nothing is written. The changes are made all at once:

  moorage plan --without eu-west-1                     if its SyncTarget were deleted
  moorage plan --lost region=eu                        if a whole region did not answer any more
  moorage plan --drain eu-west-1 --cordon eu-west-2    if one were drained, and another took nothing new
  moorage plan -f changed/                             if these files were applied: Placements, PlacementPolicies,
                                                       workloads; SyncTargets with other labels, taints, capacity
  moorage plan --lost eu-west-1 --against state/       by the files of a folder, and not by the running system

TARGET is NAME, WORKSPACE/NAME, or LABEL=VALUE for all that have it (region and zone stand for their labels).

Without --against, targets, policies and what is reserved are those of the running system (from NATS), Placements, their
decisions and what they select are read from the hub; the kubeconfig must be one that may read them. In the files of
--against, a Placement without a PlacementDecision is decided first, among the SyncTargets there.

Which placements are decided anew is what the controller would say some time after the change (--after), with the
settings in MOORAGE_EVICTION_TOLERATION_SECONDS, MOORAGE_BRAKE_SHARE and so on. Where most targets of a workspace or
region are lost at once, its brake holds what is there; --no-brake tells what it would do without. What is decided then
is told by the pipeline's own code, one placement after the other, each seeing what those before it took. How many move
at a time is bounded by the workers, and not shown. On files everybody may use all targets.

Exit codes: 0 nothing would change; 3 something would move, be placed, resized or refused; 1 it cannot be told; 2 the
command line or a file cannot be used. docs/plan.md says what -o json has.
"""

WOULD_CHANGE = 3


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("plan", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_files(parser, "what would be applied")
    for name, what in {
        "without": "were its SyncTarget deleted",
        "lost": "did it not answer any more",
        "cordon": "did it take nothing new",
        "drain": "were it drained",
    }.items():
        parser.add_argument(f"--{name}", action="append", default=[], metavar="TARGET", help=f"{what}; may be repeated")
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="FILE",
        help="what there is, instead of the running system: files or folders; may be repeated",
    )
    parser.add_argument(
        "--after", type=duration, default=3600.0, metavar="DURATION", help="how long after (default: 1h)"
    )
    parser.add_argument("--no-brake", action="store_true", help="as if the controller had no brake")
    parser.add_argument("--workspace", default="", help="where objects in -f live that do not say so (kcp.io/path)")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="default: table")
    add_settings(parser, "HubSettings")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Tell it; `WOULD_CHANGE` when something would change."""
    import asyncio

    from services.cli.hub.connection import hub_errors
    from services.cli.support.manifests import InvalidManifest
    from shared.process.memory import OF_A_COMMAND, collect_seldom

    if not (args.file or args.without or args.lost or args.cordon or args.drain):
        raise UsageError("say what would change: -f, --without, --lost, --cordon or --drain")
    collect_seldom(OF_A_COMMAND)
    try:
        with hub_errors():
            found = asyncio.run(_on_paper(args) if args.against else _live(args))
    except InvalidManifest as error:
        raise UsageError(str(error)) from None
    from services.cli.planning.report import changed, show

    show(found, args.output)
    return WOULD_CHANGE if changed(found) else 0


def _what_if(args: argparse.Namespace) -> "WhatIf":
    from services.cli.offline.objects import PATH_ANNOTATIONS, workspace_of
    from services.cli.planning.whatif import WhatIf

    applied = read_all(args.file)
    for each in applied:
        if args.workspace and not workspace_of(each):
            annotations = {**(each["metadata"].get("annotations") or {}), PATH_ANNOTATIONS[0]: args.workspace}
            each["metadata"] = {**each["metadata"], "annotations": annotations}
    return WhatIf(gone=args.without, lost=args.lost, cordoned=args.cordon, drained=args.drain, applied=applied)


def _settings(args: argparse.Namespace) -> "ControllerSettings":
    """The controller's, as the environment has them."""
    import msgspec

    from services.cli.support.broker import settings_of
    from services.controller.settings import ControllerSettings

    found = settings_of(args, ControllerSettings)
    return msgspec.structs.replace(found, brake_share=1.0) if args.no_brake else found


async def _on_paper(args: argparse.Namespace) -> "Sequence[PlannedChange]":
    from services.cli.offline.plane import plane_of
    from services.cli.planning.forecast import Forecast
    from services.cli.support.manifests import of_kind

    manifests: list[Manifest] = list(read_all(args.against))
    if not of_kind(manifests, "SyncTarget"):
        raise UsageError(f"{', '.join(args.against)}: there is no SyncTarget in it")
    plane = plane_of(manifests, manifests, manifests, manifests)
    forecast = Forecast(plane, _settings(args), time.time(), args.after)
    found = await forecast.of(of_kind(manifests, "Placement"), _what_if(args))
    for each in forecast.unknown():
        note(each)
    return found


async def _live(args: argparse.Namespace) -> "Sequence[PlannedChange]":
    from services.cli.planning.live import foretold

    found, unknown = await foretold(_settings(args), _what_if(args), args.after)
    for each in unknown:
        note(each)
    return found
