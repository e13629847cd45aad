"""`moorage policy diff`: what a change of policies would change, before it is made."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from services.cli.support.errors import UsageError
from services.cli.support.files import read_all
from services.cli.support.output import note
from services.cli.support.settings import add_settings

if TYPE_CHECKING:
    from services.cli.offline.objects import Manifest
    from services.cli.offline.plane import Plane
    from shared.model.policy import PolicyEntry
    from shared.process.settings import HubSettings

DESCRIPTION = """\
Say which placements would be refused, or would move, once the PlacementPolicies in FILE are applied: each in place of
the policy of its name, beside all others that are in force. Nothing is written.

  moorage policy diff new.yaml --live --workspace root:apps
  moorage policy diff new.yaml --against old.yaml --targets clusters.yaml --placement placements.yaml
  moorage policy diff trial.yaml --live --enforce            what a DryRun policy would do if it were Enforced

With --live, targets, policies, workspaces and what is reserved are those of the running system (from NATS), Placements,
their decisions and what they select are read from the hub; the kubeconfig must be one that may read them. Without it,
all comes from files (Namespaces and Workspaces as well, where policies go by their labels); without --previous, what is
decided now is what the policies in --against make of the placements.

Each placement is decided twice by the pipeline's own code, in order, each seeing what those before it take: with the
policies as they are, and from there with the new ones. Who may use a target is not asked: a placement that moves is
shown to go to the best target that the rules, the filters and the room leave.

Exit codes, as of kubectl diff: 0 nothing would change, 1 something would (or a rule is invalid, or NATS or the hub does
not answer), 2 a file or the command line cannot be used.
"""


def add_action(actions: Any) -> argparse.ArgumentParser:
    """Declare the action."""
    parser: argparse.ArgumentParser = actions.add_parser(
        "diff",
        help="which placements would be refused, or move",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "file", metavar="FILE", nargs="+", help="PlacementPolicies as they are to be, or a folder; - is standard input"
    )
    parser.add_argument("--live", action="store_true", help="compare with the running system")
    parser.add_argument("--workspace", default="", help="where policies live that do not say so (kcp.io/path)")
    parser.add_argument("--enforce", action="store_true", help="take the policies in FILE as Enforced")
    parser.add_argument("--against", metavar="FILE", help="the PlacementPolicies as they are; none: there are none yet")
    parser.add_argument("--targets", metavar="FILE", help="SyncTargets")
    parser.add_argument("--placement", metavar="FILE", help="Placements, and the objects that they select")
    parser.add_argument("--previous", metavar="FILE", help="PlacementDecisions that hold now")
    add_settings(parser, "HubSettings")
    return parser


def act(args: argparse.Namespace) -> int:
    """Compare; 1 when something would change. Raises `InvalidManifest`, CommandError."""
    import asyncio

    from services.cli.hub.connection import hub_errors
    from services.cli.offline.changes import changes
    from services.cli.offline.labelled import unknown
    from services.cli.offline.requests import request_from
    from services.cli.planning.report import changed, plain, table
    from services.cli.support.broker import settings_of
    from services.cli.support.manifests import of_kind
    from services.policy.cel import admission
    from shared.model.refs import PolicyRef
    from shared.process.settings import HubSettings

    new = _policies(args)
    findings = [f"{PolicyRef.of(entry)}: {each}" for entry in new for each in admission.check(entry.spec)]
    if findings:
        sys.stderr.write("".join(f"{each.removeprefix('/')}\n" for each in findings))
        return 1
    if args.live:
        if args.against or args.targets or args.placement or args.previous:
            raise UsageError("--live reads what is there: leave out --against, --targets, --placement and --previous")
        with hub_errors():
            plane, manifests = asyncio.run(_live(settings_of(args, HubSettings), [each.workspace for each in new]))
    else:
        plane, manifests = _on_paper(args)
    placements, now = of_kind(manifests, "Placement"), time.time()
    for each in unknown((request_from(plane, each, now) for each in placements), [*plane.policies, *new]):
        note(each)
    found = asyncio.run(changes(plane, placements, new, now))
    if args.output == "json":
        sys.stdout.write(json.dumps({"placements": [plain(each) for each in found]}) + "\n")
    else:
        sys.stdout.write("\n".join([*table(found), f"{changed(found)} of {len(found)} placements would change"]) + "\n")
    return int(changed(found) > 0)


def _policies(args: argparse.Namespace) -> "list[PolicyEntry]":
    import msgspec

    from services.cli.offline.plane import policies_of

    def placed(entry: "PolicyEntry") -> "PolicyEntry":
        spec = msgspec.structs.replace(entry.spec, enforcement="Enforced") if args.enforce else entry.spec
        return msgspec.structs.replace(entry, workspace=entry.workspace or args.workspace, spec=spec)

    found = [placed(each) for each in policies_of(read_all(args.file))]
    if not found:
        raise UsageError(f"{', '.join(args.file)}: there is no PlacementPolicy in it")
    return found


def _on_paper(args: argparse.Namespace) -> "tuple[Plane, list[Manifest]]":
    from services.cli.offline.plane import plane_of
    from services.cli.support.manifests import of_kind, read

    for option, kind in (("targets", "SyncTarget"), ("placement", "Placement")):
        path = vars(args)[option]
        if not path:
            raise UsageError(f"give --{option}, or --live")
        if not of_kind(read(path), kind):
            raise UsageError(f"{path}: there is no {kind} in it")
    placements: list[Manifest] = list(read(args.placement))
    policies, previous = (read(path) if path else [] for path in (args.against, args.previous))
    return plane_of(read(args.targets), placements, policies, previous), placements


async def _live(settings: "HubSettings", holding: Sequence[str]) -> "tuple[Plane, list[Manifest]]":
    """The running system, with the placements that policies of these workspaces can hold for."""
    from services.cli.planning.live import running
    from shared.hub.holding import reaches

    async with running(settings, lambda path: any(reaches(each, path) for each in holding)) as found:
        return found.plane, found.manifests
