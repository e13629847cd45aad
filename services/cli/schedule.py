"""`moorage schedule`: what would be decided, on manifests alone, with no server."""

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from services.cli.offline import Answer
    from shared.model import Choice, Request

DESCRIPTION = """\
Run policy and scheduler on manifests, with no server: to try rules on a plane, or to test them in CI.

  moorage schedule --targets clusters.yaml --placement web.yaml
  cat *.yaml | moorage schedule --targets - --placement - --policy - -o json | jq .refusal

Files hold YAML or JSON, several documents each; - is standard input, and may be given for several of them. The file of
--placement may also hold the objects that its Placements select (Deployments and so on), for what they request; an
object that is not there counts as one replica without requests. A SyncTarget without `status.apis` serves everything,
one without a Ready condition is ready. The annotation kcp.io/path says in which workspace an object lives. What
--previous selected takes its capacity. Placements do not see each other, unless --reserve is given.

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
    parser.add_argument("--reserve", action="store_true", help="let each placement take its capacity from the next")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="default: table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Decide all placements of the files; 1 when one was refused. Raises UsageError for a file that cannot be used."""
    from services.cli.errors import UsageError
    from services.cli.manifests import InvalidManifest, of_kind, read
    from services.cli.offline import named, plane_of
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
    return asyncio.run(_decide_all(plane, of_kind(files[args.placement], "Placement"), args))


async def _decide_all(plane: Any, placements: Iterable[Any], args: argparse.Namespace) -> int:
    from services.cli.offline import Planner, request_from

    refused = False
    now = time.time()
    async with Planner(plane) as planner:
        for manifest in placements:
            request = request_from(plane, manifest, now)
            answer = await planner.decide(request, now)
            proposal = answer.outcome.proposal
            refused |= proposal.refusal is not None
            if args.reserve:
                for choice in proposal.selected:
                    plane.reserve(request.placement, request.labels, choice.target, choice.reserve)
            if args.output == "json":
                sys.stdout.write(json.dumps(as_json(request, answer), allow_nan=False) + "\n")
            else:
                sys.stdout.write(as_table(request, answer) + "\n")
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    return int(refused)


def shown(target: str) -> str:
    """A target id for people: without workspaces, its bare name."""
    return target.removeprefix("/")


def as_json(request: "Request", answer: "Answer") -> dict[str, Any]:
    """One placement's decision, with every number behind it."""
    proposal = answer.outcome.proposal
    refusal = proposal.refusal
    return {
        "placement": str(request.placement).removeprefix("/"),
        "strategy": proposal.strategy,
        "selected": [_choice(each) for each in proposal.selected],
        "alternates": [_choice(each) for each in proposal.alternates],
        "scores": [_choice(each) for each in answer.outcome.scores()],
        "rejected": {shown(target): reasons for target, reasons in answer.rejected().items()},
        "refusal": None if refusal is None else {"code": refusal.code, "message": refusal.message},
    }


def _choice(choice: "Choice") -> dict[str, Any]:
    return {
        "target": shown(choice.target),
        "replicas": choice.replicas,
        "score": choice.score,
        "breakdown": {
            name: {"raw": score.raw, "weight": score.weight, "weighted": score.weighted}
            for name, score in choice.breakdown.items()
        },
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
            rows.append([role, shown(each.target), replicas, f"{each.score:.2f}", *points])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines += ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    reasons: dict[str, list[str]] = {}
    for target, found in answer.rejected().items():
        reasons.setdefault(found[0]["message"], []).append(shown(target))
    for message, targets in sorted(reasons.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        some = ", ".join(targets[:3]) + (", ..." if len(targets) > 3 else "")
        lines.append(f"  {len(targets)} {message}: {some}")
    return "\n".join(lines)
