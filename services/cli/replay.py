"""`moorage replay`: decide the last round of a placement again, and say what came out otherwise."""

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

from services.cli.support.errors import CommandError, UsageError
from services.cli.support.flags import add_placement
from services.cli.support.output import aligned, note, printable
from services.cli.support.settings import add_settings
from services.cli.support.tenant import placement

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.cli.planning.again import Replayed
    from services.cli.support.decisions import Place
    from services.cli.support.identity import TenantSettings

SHOWN = 20  # differences; with -o wide and json all

DESCRIPTION = """\
Decide the last round of a placement again, with the request as it was and the targets that discovery had found for it,
and say whether it comes to the same; if not, what is otherwise: targets that are rejected or allowed now, scores that
have changed. So it tells whether a decision still stands, and after a surprise whether it can be repeated.

  moorage replay backend -n shop --workspace root:team
  moorage replay shop/backend --workspace root:team --policy new.yaml     with the policies of a file instead
  moorage replay shop/backend --workspace root:team --attempt 3           only if attempt 3 was the last

The round is on record in NATS, which keeps the last one of each placement for a day. Targets, policies and what others
have reserved are those of now; what the placement itself has counts as free. Nothing is written.

Exit codes: 0 it comes to the same; 3 it does not; 1 there is nothing on record, or NATS does not answer; 2 the command
line or a file cannot be used. docs/replay.md says what -o json has.
"""
DIFFERS = 3


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "replay", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_placement(parser)
    parser.add_argument("--attempt", type=int, metavar="N", help="refuse to, unless attempt N was the last one")
    parser.add_argument("--policy", metavar="FILE", help="PlacementPolicies in place of all that are in force")
    parser.add_argument(
        "-o",
        "--output",
        choices=("table", "wide", "json"),
        default="table",
        help=f"wide: more than {SHOWN} differences (default: table)",
    )
    add_settings(parser, "TenantSettings")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Tell it; `DIFFERS` when it comes to something else."""
    import asyncio

    from services.cli.support.broker import settings_of
    from services.cli.support.identity import TenantSettings
    from services.cli.support.manifests import InvalidManifest

    try:
        found = asyncio.run(_replayed(args, settings_of(args, TenantSettings)))
    except InvalidManifest as error:
        raise UsageError(str(error)) from None
    _print(found, args.output)
    return 0 if found.same else DIFFERS


async def _replayed(args: argparse.Namespace, settings: "TenantSettings") -> "Replayed":
    from services.cli.offline.plane import Plane, policies_of
    from services.cli.planning.again import again
    from services.cli.planning.live import in_force
    from services.cli.planning.record import last_round
    from services.cli.support.broker import broker
    from services.cli.support.manifests import read

    ref = placement(args, settings.workspace)
    policies = None if args.policy is None else policies_of(read(args.policy))
    async with broker(settings) as (bus, store):
        recorded = await last_round(bus, ref)
        attempt = recorded.scheduled.request.head.attempt
        if args.attempt not in (None, attempt):
            raise CommandError(f"attempt {args.attempt} is not on record: NATS keeps the last one, {attempt}")
        plane = await in_force(store, Plane({}))
        if policies is not None:
            plane.policies = policies
    return await again(plane, recorded)


def _print(found: "Replayed", output: str) -> None:
    import msgspec

    from services.cli.planning.report import as_json

    if output == "json":
        plain = {
            "placement": found.placement,
            "attempt": found.attempt,
            "same": found.same,
            "cause": found.cause,
            "requestedAt": found.requested_at,
            "then": {"selected": as_json(found.then), "refusal": found.refused_then},
            "now": {"selected": as_json(found.now), "refusal": found.refused_now},
            "decided": None if found.decided is None else as_json(found.decided),
            "differences": found.differences,
        }
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(plain)).decode() + "\n")
        return
    ago = max(0, round(time.time() - found.requested_at))
    lines = [
        f"{found.placement}, attempt {found.attempt}, {ago} s ago ({printable(found.cause)}): "
        + ("comes to the same" if found.same else "comes to something else"),
        f"  then  {_said(found.then, found.refused_then)}",
        f"  now   {_said(found.now, found.refused_now)}",
    ]
    if found.decided is not None:
        lines.append(f"  decision took  {_said(found.decided, '')}: others were faster for what was proposed")
    shown = found.differences if output == "wide" else found.differences[:SHOWN]
    if shown:
        rows = [("TARGET", "WHAT", "THEN", "NOW")]
        rows += [
            (each.target.removeprefix("/"), each.what, printable(each.then), printable(each.now)) for each in shown
        ]
        lines += ["", *aligned(rows)]
    sys.stdout.write("\n".join(lines) + "\n")
    if len(shown) < len(found.differences):
        note(f"{len(found.differences) - len(shown)} more differences: -o wide")


def _said(places: "Iterable[Place]", refusal: str) -> str:
    from services.cli.planning.report import named

    return f"refused: {printable(refusal)}" if refusal else named(places)
