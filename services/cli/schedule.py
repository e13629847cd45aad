"""`moorage schedule`: what would be decided, on manifests alone, with no server."""

import argparse
import asyncio
import sys
import time
from collections.abc import Iterable
from typing import Any

from services.cli.support.errors import UsageError
from services.cli.support.output import note

DESCRIPTION = """\
Run policy and scheduler on manifests, with no server: to try rules on a plane, or to test them in CI.

  moorage schedule --targets clusters.yaml --placement web.yaml
  cat *.yaml | moorage schedule --targets - --placement - --policy - -o json | jq .refusal

Files hold YAML or JSON, several documents each; - is standard input, and may be given for several of them. The file of
--placement may also hold the objects that its Placements select (Deployments and so on), for what they request; an
object that is not there counts as one replica without requests. A SyncTarget without `status.apis` serves everything,
one without a Ready condition is ready. The annotation kcp.io/path says in which workspace an object lives.

What --previous selected takes its capacity, and is a neighbour of the others by the labels of its Placement in the file
of --placement. Each Placement is decided as if it were the only new one, so that the order of a file does not matter.
With --reserve they are decided one after the other, in the order of the file: each sees what those before it took
(capacity, quotas, neighbours) and what they gave back by moving; who is refused keeps what it has.

Exit codes: 0 all placed, 1 a placement was refused, 2 a file or the command line cannot be used.
With -o json, each placement is one line: placement, strategy, selected[], alternates[], scores[], rejected{}, refusal.
A Placement that is wrong in itself is refused as InvalidPlacement, and the others are decided; whatever else cannot be
used ends the command before it decides anything, in one line that names the file, the document and the field.
Fields that a kind does not know are ignored, as by an API server, and named on standard error.
"""
KINDS = {
    "targets": "SyncTarget",
    "placement": "Placement",
    "policy": "PlacementPolicy",
    "previous": "PlacementDecision",
}
"""Options that name a file, and what is looked for in it."""


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "schedule",
        help="what would be decided, on manifests alone",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--targets", required=True, metavar="FILE", help="SyncTargets")
    parser.add_argument("--placement", required=True, metavar="FILE", help="Placements, and the objects they select")
    parser.add_argument("--policy", metavar="FILE", help="PlacementPolicies")
    parser.add_argument("--previous", metavar="FILE", help="PlacementDecisions that hold now")
    parser.add_argument("--reserve", action="store_true", help="decide in order: each sees what those before took")
    parser.add_argument(
        "--trusted-providers",
        metavar="PATHS",
        help="whose targets are candidates for everybody, by comma, as discovery is set (default: all that are given)",
    )
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="default: table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Decide all placements of the files; 1 when one was refused. Raises UsageError for a file that cannot be used."""
    from services.cli.offline.objects import named
    from services.cli.offline.plane import plane_of
    from services.cli.support.manifests import InvalidManifest, is_ours, of_kind, read
    from shared.api.unknown import unknown_fields

    given = {option: path for option in KINDS if (path := vars(args)[option]) is not None}
    try:
        files = {path: read(path) for path in dict.fromkeys(given.values())}
        plane = plane_of(*(files.get(given.get(option, ""), ()) for option in KINDS))
    except InvalidManifest as error:
        raise UsageError(str(error)) from None
    if args.trusted_providers is not None:
        plane.trusted = tuple(path.strip() for path in args.trusted_providers.split(",") if path.strip())
    for option in ("placement", "policy"):
        if option in given and not of_kind(files[given[option]], KINDS[option]):
            raise UsageError(f"{given[option]}: there is no {KINDS[option]} in it")
    for option, path in given.items():
        for manifest in of_kind(files[path], KINDS[option]):
            for unknown in unknown_fields(manifest):
                note(f"{named(manifest)}: unknown field {unknown} is ignored")
        for manifest in files[path]:
            if manifest["kind"] == KINDS[option] and not is_ours(manifest):
                note(f"{named(manifest)}: is of {manifest['apiVersion']}, and ignored")
    return asyncio.run(_decide_all(plane, of_kind(files[args.placement], "Placement"), args))


async def _decide_all(plane: Any, placements: Iterable[Any], args: argparse.Namespace) -> int:
    from services.cli.offline.output import as_json, as_table
    from services.cli.offline.planner import Planner
    from services.cli.offline.requests import request_from

    refused = False
    now = time.time()
    async with Planner(plane) as planner:
        for manifest in placements:
            request = request_from(plane, manifest, now)
            answer = await planner.decide(request, now)
            proposal = answer.outcome.proposal
            refused |= proposal.refusal is not None
            if args.reserve and proposal.refusal is None:
                plane.hold(request.placement, request.labels, {each.target: each.reserve for each in proposal.selected})
            shown = as_json(request, answer) if args.output == "json" else as_table(request, answer)
            sys.stdout.write(f"{shown}\n")
    return int(refused)
