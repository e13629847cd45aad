"""`moorage schedule`: what would be decided, on manifests alone, with no server."""

import argparse
import asyncio
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from services.cli.offline.planner import Answer
    from shared.model.decision import Choice
    from shared.model.request import Request

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
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="default: table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Decide all placements of the files; 1 when one was refused. Raises UsageError for a file that cannot be used."""
    from services.cli.offline.plane import named, plane_of
    from services.cli.support.errors import UsageError
    from services.cli.support.manifests import InvalidManifest, is_ours, of_kind, read
    from shared.api.unknown import unknown_fields

    given = {option: path for option in KINDS if (path := vars(args)[option]) is not None}
    try:
        files = {path: read(path) for path in dict.fromkeys(given.values())}
        plane = plane_of(*(files.get(given.get(option, ""), ()) for option in KINDS))
    except InvalidManifest as error:
        raise UsageError(str(error)) from None
    for option in ("placement", "policy"):
        if option in given and not of_kind(files[given[option]], KINDS[option]):
            raise UsageError(f"{given[option]}: there is no {KINDS[option]} in it")
    for option, path in given.items():
        for manifest in of_kind(files[path], KINDS[option]):
            for unknown in unknown_fields(manifest):
                sys.stderr.write(f"moorage: {named(manifest)}: unknown field {unknown} is ignored\n")
        for manifest in files[path]:
            if manifest["kind"] == KINDS[option] and not is_ours(manifest):
                sys.stderr.write(f"moorage: {named(manifest)}: is of {manifest['apiVersion']}, and ignored\n")
    return asyncio.run(_decide_all(plane, of_kind(files[args.placement], "Placement"), args))


async def _decide_all(plane: Any, placements: Iterable[Any], args: argparse.Namespace) -> int:
    from services.cli.offline.plane import request_from
    from services.cli.offline.planner import Planner

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


def _shown(target: str) -> str:
    """A target id for people: without workspaces, its bare name."""
    return target.removeprefix("/")


def as_json(request: "Request", answer: "Answer") -> str:
    """One placement's decision in a line of JSON, with every number behind it."""
    import msgspec

    proposal = answer.outcome.proposal
    refusal = proposal.refusal
    decision = {
        "placement": str(request.placement).removeprefix("/"),
        "strategy": proposal.strategy,
        "selected": [_choice(each) for each in proposal.selected],
        "alternates": [_choice(each) for each in proposal.alternates],
        "scores": [_choice(each) for each in answer.outcome.scores()],
        "rejected": {_shown(target): reasons for target, reasons in answer.rejected().items()},
        "refusal": None if refusal is None else {"code": refusal.code, "message": refusal.message},
    }
    return msgspec.json.encode(decision).decode()


def _choice(choice: "Choice") -> dict[str, Any]:
    return {
        "target": _shown(choice.target),
        "replicas": choice.replicas,
        "score": choice.score,
        "breakdown": choice.breakdown,
    }


def as_table(request: "Request", answer: "Answer") -> str:
    """One placement's decision for people: what is taken, what comes next, and how many fell out why."""
    proposal = answer.outcome.proposal
    lines = [f"{str(request.placement).removeprefix('/')}  {proposal.strategy}"]
    if proposal.refusal is not None:
        lines.append(f"  refused: {proposal.refusal.code}: {proposal.refusal.message}")
    ranked = [("selected", each) for each in proposal.selected] + [("next", each) for each in proposal.alternates]
    if ranked:
        scorers = list(dict.fromkeys(name for _, each in ranked for name in each.breakdown))
        rows = [["", "TARGET", "REPLICAS", "SCORE", *(name.upper() for name in scorers)]]
        for role, each in ranked:
            parts = (each.breakdown.get(name) for name in scorers)
            points = ["-" if part is None else f"{part.raw:.1f}×{part.weight:g}" for part in parts]
            replicas = "-" if each.replicas is None else str(each.replicas)
            rows.append([role, _shown(each.target), replicas, f"{each.score:.2f}", *points])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines += ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    reasons: dict[str, list[str]] = {}
    for target, found in answer.rejected().items():
        reasons.setdefault(found[0]["message"], []).append(_shown(target))
    for message, targets in sorted(reasons.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        some = ", ".join(targets[:3]) + (", ..." if len(targets) > 3 else "")
        lines.append(f"  {len(targets)} {message}: {some}")
    return "\n".join(lines)
