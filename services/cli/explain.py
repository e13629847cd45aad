"""`moorage explain`: why a placement is where it is, and why not elsewhere."""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from services.cli.support.errors import UsageError
from services.cli.support.files import add_files, read_all
from services.cli.support.flags import add_placement, add_reader_arguments

if TYPE_CHECKING:
    from services.cli.explaining.explanation import Explanation

DESCRIPTION = """\
Say why a placement is where it is, and why not elsewhere: the targets that were chosen, with their scores; better
scores that were passed over, each with the rule that decided; what comes next; and for each reason why targets fell
out, what would help. It is read from the Placement and its PlacementDecision: nothing is decided again.

  moorage explain backend -n shop                     one placement
  moorage explain shop/backend --target eu-west-1     what is on record of one target
  moorage explain -A                                  all placements, a line each
  moorage explain -f clusters.yaml -f placement.yaml  from files: what would be decided, and why
  kubectl get placements,placementdecisions -A -o yaml | moorage explain -f -

In files, a Placement without a PlacementDecision is decided on paper among the SyncTargets there, as `moorage schedule`
does it.

Exit codes: 0 it is placed; 1 one is refused or not decided, or cannot be read; 2 the command line or a file cannot be
used. docs/explain.md says what -o json has.
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "explain",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_placement(parser, optional=True)
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="the placements of all namespaces")
    parser.add_argument("--target", default="", metavar="NAME", help="only what is on record of this target")
    add_files(parser, "Placements with PlacementDecisions or SyncTargets, instead of a hub")
    add_reader_arguments(parser)
    parser.add_argument(
        "-o",
        "--output",
        choices=("table", "wide", "json", "yaml", "name"),
        default="table",
        help="wide: every scorer and rule; name: NAMESPACE/NAME of each placement (default: table)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Explain; 1 where something is refused or undecided."""
    import asyncio

    from services.cli.explaining.explanation import only
    from services.cli.support.manifests import InvalidManifest
    from shared.process.memory import OF_A_COMMAND, collect_seldom

    if args.all_namespaces and (args.placement or args.namespace):
        raise UsageError("-A is for all placements of all namespaces: leave out PLACEMENT and -n")
    if args.target and not args.placement:
        raise UsageError("--target says more of one PLACEMENT: name it")
    collect_seldom(OF_A_COMMAND)
    try:
        found = asyncio.run(_from_files(args) if args.file else _from_hub(args))
    except InvalidManifest as error:
        raise UsageError(str(error)) from None
    if args.target:
        found = [only(each, args.target) for each in found]
        if not any((each.selected, each.alternates, each.rejected) for each in found):
            raise UsageError(f"nothing is on record of a target {args.target}")
    _print(found, args)
    return int(any(each.outcome in ("Refused", "Undecided") for each in found))


async def _from_hub(args: argparse.Namespace) -> "list[Explanation]":
    from services.cli.explaining import reading
    from services.cli.hub.connection import hub_errors, reader
    from services.cli.support.tenant import placement

    with hub_errors():
        async with reader(args) as (client, workspace):
            if args.placement:
                ref = placement(args, workspace)
                return [await reading.one(client, workspace, ref.namespace, ref.name)]
            namespace = "" if args.all_namespaces else args.namespace or "default"
            return await reading.several(client, workspace, namespace)


async def _from_files(args: argparse.Namespace) -> "list[Explanation]":
    from services.cli.explaining import reading
    from services.cli.support.tenant import placement

    where = args.namespace
    name = ""
    if args.placement:
        ref = placement(args, "")
        name = ref.name
        where = ref.namespace if where or "/" in args.placement else ""
    found = await reading.on_paper(
        read_all(args.file), lambda namespace, each: where in ("", namespace) and name in ("", each)
    )
    if not found:
        raise UsageError(f"there is no Placement {args.placement}".rstrip() + " in the files")
    return found


def _print(found: "Sequence[Explanation]", args: argparse.Namespace) -> None:
    import msgspec

    from services.cli.explaining import pages

    one = len(found) == 1 and bool(args.placement)
    if args.output == "json":
        shown = found[0] if one else {"items": found}
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(shown)).decode() + "\n")
    elif args.output == "name":
        sys.stdout.write("".join(f"{each.namespace}/{each.name}\n" for each in found))
    elif args.output == "yaml":
        sys.stdout.write(pages.as_yaml(found))
    elif args.placement or args.file:
        out = pages.console()
        for number, each in enumerate(found):
            if number:
                out.print()
            pages.show(out, each, wide=args.output == "wide")
    elif found:
        pages.summary(pages.console(), found)
    else:
        where = "" if args.all_namespaces else f" in the namespace {args.namespace or 'default'}"
        sys.stdout.write(f"there are no Placements{where}\n")
