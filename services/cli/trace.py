"""`moorage trace`: the trace of a placement's last round, in the terminal."""

import argparse
import io
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.cli.support.errors import CommandError, UsageError
from services.cli.support.flags import add_placement, add_reader_arguments
from services.cli.support.output import printable

if TYPE_CHECKING:
    from services.cli.tracing.waterfall import FoundSpan, Row

JAEGER = "http://127.0.0.1:16686"
BAR, LEAST_WIDTH, PICTURE_WIDTH = 28, 60, 168  # columns

DESCRIPTION = """\
Show what the workers did in the last round of a placement: each step below what caused it, when, for how long, with
what came of it, and for how long its message had waited. The trace is named by the Placement (status.traceId), and read
from Jaeger's API, or from the folder in which the workers of `moorage up` keep their spans (MOORAGE_SPAN_FOLDER, which
`moorage env` says); docs/tracing.md says how workers are told to send theirs.

  moorage trace backend -n shop
  moorage trace backend -n shop --jaeger https://jaeger.example.com -o json
  moorage trace backend -n shop -o svg > trace.svg               a picture of it, for a page or a ticket
  moorage trace --trace 4bf92f3577b34da6a3ce929d0e0e4736        a trace by its id; the hub is not asked

Exit codes: 0 it is shown; 1 there is no trace, or no answer; 2 the command line cannot be used.
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("trace", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_placement(parser, optional=True)
    parser.add_argument("--trace", default="", metavar="ID", help="a trace by its id, instead of PLACEMENT")
    parser.add_argument(
        "--jaeger",
        dest="jaeger_url",
        metavar="URL",
        help="where Jaeger's pages are (default: MOORAGE_JAEGER_URL; without it MOORAGE_SPAN_FOLDER, a folder with"
        f" spans; without both {JAEGER})",
    )
    add_reader_arguments(parser)
    parser.add_argument(
        "-o", "--output", choices=("table", "json", "svg"), default="table", help="svg: a picture (default: table)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Find the trace, and show it."""
    if bool(args.placement) == bool(args.trace):
        raise UsageError("say which: either PLACEMENT, or --trace")
    import asyncio

    from services.cli.tracing.waterfall import rows

    trace = args.trace or asyncio.run(_trace_of(args))
    found = rows(_spans(args.jaeger_url or os.environ.get("MOORAGE_JAEGER_URL", ""), trace))
    if args.output == "json":
        import msgspec

        sys.stdout.write(msgspec.json.format(msgspec.json.encode({"trace": trace, "spans": found})).decode() + "\n")
    else:
        _show(trace, found, as_picture=args.output == "svg")
    return 0


def _spans(jaeger_url: str, trace: str) -> "list[FoundSpan]":
    """From Jaeger, or from a folder, where only that is said."""
    from services.cli.tracing import jaeger, kept

    folder = os.environ.get("MOORAGE_SPAN_FOLDER", "")
    if folder and not jaeger_url:
        return kept.spans(Path(folder), trace)
    return jaeger.spans(jaeger_url or JAEGER, trace)


async def _trace_of(args: argparse.Namespace) -> str:
    from services.cli.hub.connection import hub_errors, reader
    from services.cli.support.tenant import placement
    from shared.api import Placement
    from shared.hub.resources import PLACEMENTS
    from shared.kube.errors import ApiError

    with hub_errors():
        async with reader(args) as (client, workspace):
            ref = placement(args, workspace)
            try:
                found = await client.get(PLACEMENTS, ref.name, ref.namespace, type=Placement)
            except ApiError as error:
                if error.absent(ref.name):
                    message = f"there is no Placement {ref.name} in the namespace {ref.namespace}"
                    raise CommandError(message) from None
                raise
    if not found.status.trace_id:
        raise CommandError(f"{ref.name} has no trace: none was recorded of its last round (docs/tracing.md)")
    return found.status.trace_id


def _show(trace: str, found: "list[Row]", *, as_picture: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from services.cli.tracing.waterfall import bar, duration

    whole = max((each.after + each.span.seconds for each in found), default=0.0)
    plain: dict[str, Any] = {"highlight": False, "emoji": False, "markup": False}
    if as_picture:
        drawn = io.StringIO()
        out = Console(
            **plain, width=PICTURE_WIDTH, file=drawn, record=True, color_system="truecolor", force_terminal=True
        )
    else:
        out = Console(**plain, width=None if sys.stdout.isatty() else 160)
    out.print(Text(f"trace {trace}: {len(found)} spans, {duration(whole)}", "bold"))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("WORKER", no_wrap=True)
    table.add_column("STEP", overflow="fold")
    table.add_column("AFTER", no_wrap=True, justify="right")
    table.add_column("TOOK", no_wrap=True, justify="right")
    wide = out.width > LEAST_WIDTH + BAR
    if wide:
        table.add_column("", no_wrap=True, width=BAR)
    for each in found:
        red = "red" if each.span.error else ""
        step = Text("  " * each.depth + printable(each.span.operation), red)
        step.append(f"  {printable(each.notes)}" if each.notes else "", "dim")
        cells = [Text(printable(each.span.service)), step]
        cells += [Text(duration(each.after)), Text(duration(each.span.seconds))]
        if wide:
            cells.append(Text(bar(each.after, each.span.seconds, whole, BAR), red or "cyan"))
        table.add_row(*cells)
    out.print(table)
    if as_picture:
        picture = out.export_svg(title="moorage trace", unique_id="trace")
        # Fonts that a reader would have to fetch from elsewhere; without them it is drawn in their own.
        sys.stdout.write(re.sub(r"@font-face \{.*?\}", "", picture, flags=re.DOTALL))
