"""`moorage schedule`: what would be decided, on manifests alone, with no server."""

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

from services.cli.support.errors import UsageError
from services.cli.support.output import note

DESCRIPTION = """\
Run policy and scheduler on manifests, with no server: to try rules on a plane, or to test them in CI.

  moorage schedule --targets clusters.yaml --placement web.yaml
  cat *.yaml | moorage schedule --targets - --placement - --policy - -o json | jq .refusal

Files hold YAML or JSON, several documents each, and a folder stands for its files; - is standard input, and may be
given for several of them. Options may be repeated, and add up. The file of --placement may also hold the objects that
its Placements select (Deployments and so on), for what they request; an object that is not there counts as one
replica without requests; and PlacementOverrides, all of which hold. A SyncTarget without `status.apis` serves
everything, one without a Ready condition is ready. The annotation kcp.io/path says in which workspace an object
lives. Where policies go by labels of namespaces or workspaces, put these Namespaces and Workspaces among the files:
else such policies count as if they held.

What --previous selected takes its capacity, and is a neighbour of the others by the labels of its Placement in the file
of --placement. Each Placement is decided as if it were the only new one, so that the order of a file does not matter.
With --reserve they are decided one after the other, in the order of the file: each sees what those before it took
(capacity, quotas, neighbours) and what they gave back by moving; who is refused keeps what it has.

Exit codes: 0 all placed, 1 a placement was refused, 2 a file or the command line cannot be used.
With -o json, each placement is one line: placement, strategy, selected[], alternates[], scores[], rejected{},
onTrial[] (what rules of DryRun and Warn policies say of the targets that no rule rejected), warnings{}, refusal.
A Placement that is wrong in itself is refused as InvalidPlacement, and the others are decided; whatever else cannot be
used ends the command before it decides anything, in one line that names the file, the document and the field.
Fields that a kind does not know are errors, as for kubectl.
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
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    helps = {
        "targets": "SyncTargets",
        "placement": "Placements, and the objects they select",
        "policy": "PlacementPolicies",
        "previous": "PlacementDecisions that hold now",
    }
    for option, text in helps.items():
        required = option in ("targets", "placement")
        parser.add_argument(
            f"--{option}",
            action="append",
            default=[],
            required=required,
            metavar="FILE",
            help=f"{text}; may be repeated, and be a folder",
        )
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
    from services.cli.support.files import files_in
    from services.cli.support.manifests import InvalidManifest, is_ours, of_kind, read
    from shared.api.unknown import unknown_fields
    from shared.process.memory import OF_A_COMMAND, collect_seldom

    collect_seldom(OF_A_COMMAND)
    given = {
        option: list(dict.fromkeys(file for path in vars(args)[option] for file in files_in(path))) for option in KINDS
    }
    try:
        files = {path: read(path) for path in dict.fromkeys(path for paths in given.values() for path in paths)}
        found = {option: [each for path in paths for each in files[path]] for option, paths in given.items()}
        plane = plane_of(*(found[option] for option in KINDS))
    except InvalidManifest as error:
        raise UsageError(str(error)) from None
    if args.trusted_providers is not None:
        plane.trusted = tuple(path.strip() for path in args.trusted_providers.split(",") if path.strip())
    for option in ("placement", "policy"):
        if given[option] and not of_kind(found[option], KINDS[option]):
            raise UsageError(f"{', '.join(given[option])}: there is no {KINDS[option]} in it")
    for option, manifests in found.items():
        for manifest in of_kind(manifests, KINDS[option]):
            for unknown in unknown_fields(manifest):
                raise UsageError(f"{named(manifest)}: unknown field {unknown}")
        for manifest in manifests:
            if manifest["kind"] == KINDS[option] and not is_ours(manifest):
                note(f"{named(manifest)}: is of {manifest['apiVersion']}, and ignored")
    return _decide_all(plane, of_kind(found["placement"], "Placement"), args)


def _decide_all(plane: Any, placements: Sequence[Any], args: argparse.Namespace) -> int:
    from services.cli.offline.labelled import unknown
    from services.cli.offline.output import as_json, as_table
    from services.cli.offline.planner import Planner
    from services.cli.offline.requests import request_from

    now = time.time()
    planner = Planner(plane)
    requests = [request_from(plane, manifest, now) for manifest in placements]
    for each in unknown(requests, plane.policies):
        note(each)
    show = as_json if args.output == "json" else as_table
    refused = False

    def settle(request: Any, answer: Any) -> None:
        nonlocal refused
        proposal = answer.outcome.proposal
        refused |= proposal.refusal is not None
        if args.reserve and proposal.refusal is None:
            plane.hold(request.placement, request.labels, {each.target: each.reserve for each in proposal.selected})
        sys.stdout.write(f"{show(request, answer)}\n")

    if not any(map(planner.has_rules, requests)):
        for request in requests:
            settle(request, planner.decide_without_rules(request, now))
        return int(refused)
    import asyncio  # 30 ms, for rules alone

    async def decide() -> None:
        async with planner:
            for request in requests:
                settle(request, await planner.decide(request, now))

    asyncio.run(decide())
    return int(refused)
