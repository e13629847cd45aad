"""`moorage top`: what waits for which worker, at which rate it is handled, and how full the targets are."""

import argparse
import functools
import sys
import time
from typing import TYPE_CHECKING, Any

from services.cli.support.errors import CommandError
from services.cli.support.settings import add_settings
from services.cli.support.tenant import duration

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rich.console import Console

    from services.cli.diagnosing.load import LoadPicture, Look
    from shared.broker.nats.bus import NatsBus
    from shared.broker.store import Bucket, Store
    from shared.pipeline.worker import Worker
    from shared.process.settings import NatsSettings

DESCRIPTION = """\
Show what waits for which worker and for how long, how many messages a second they get, and how full the targets are;
drawn anew every two seconds until Ctrl-C, as much of it as the window has room for. Where NATS does not answer, what
was seen last stays, with how old it is. Where it is not drawn on a terminal, or with --once, it looks twice, and prints
it once.

  moorage top
  moorage top --once --targets 50
  moorage top -o json | jq '.queues[] | select(.waiting > 100)'

WAITING is what no copy of the worker has got yet, IN HAND what is being handled or is to be delivered again, OLDEST for
how long the first of those that wait has waited. COPIES is how many of the worker tell that they are there. A target is
as full as the scheduler counts it: what others than Moorage request there, and what is reserved.

Exit codes: 0; 1 NATS does not answer at first, or has not all that the workers need (moorage doctor says what); 2 the
command line cannot be used. docs/top.md says what -o json has.
"""
SHOWN = 15  # targets


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("top", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--once", action="store_true", help="print it once")
    parser.add_argument(
        "--interval", type=duration, default=2.0, metavar="DURATION", help="from look to look (default: 2s)"
    )
    parser.add_argument(
        "--targets", type=int, default=SHOWN, metavar="N", help=f"the fullest N are shown (default: {SHOWN}; json: all)"
    )
    parser.add_argument(
        "-o", "--output", choices=("table", "json"), default="table", help="json: once (default: table)"
    )
    add_settings(parser, "NatsSettings")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show it."""
    import asyncio

    from services.cli.support.broker import settings_of
    from shared.process.settings import NatsSettings

    asyncio.run(_show(args, settings_of(args, NatsSettings)))
    return 0


async def _show(args: argparse.Namespace, settings: "NatsSettings") -> None:
    import asyncio

    from rich.console import Console

    from services.cli.diagnosing.load import picture
    from services.cli.support.broker import broker
    from services.registry import load_all
    from shared.broker.nats.bus import NatsBus
    from shared.broker.nats.options import without_credentials

    workers = load_all()
    out = Console(highlight=False)
    once = args.once or args.output == "json" or not sys.stdout.isatty() or out.is_dumb_terminal
    async with broker(settings) as (bus, store):
        assert isinstance(bus, NatsBus)
        look = functools.partial(_look, bus, store, workers)
        before = await look()
        if once:
            await asyncio.sleep(args.interval)
            _print(picture(await look(), before), args)
        else:
            await _live(out, look, before, args, without_credentials(settings.nats_url))


async def _live(
    out: "Console", look: "Callable[[], Awaitable[Look]]", before: "Look", args: argparse.Namespace, nats: str
) -> None:
    """Draw it until Ctrl-C. Where a look fails, what was seen last stays, with how old it is and what fails."""
    import asyncio

    from rich.live import Live
    from rich.text import Text

    from services.cli.diagnosing.load import picture
    from services.cli.diagnosing.screen import screen
    from shared.broker.bus import BusError

    found, trouble = picture(before), ""

    def drawn() -> Text:
        age = time.monotonic() - before.at
        late = f"as of {age:.0f} s ago" if trouble or age > 2 * args.interval + 1 else ""
        heading = (f"{nats}, every {args.interval:g} s; Ctrl-C ends it", ": ".join(filter(None, (late, trouble))))
        return Text("\n".join(screen(heading, found, args.targets, *out.size)), no_wrap=True, overflow="crop")

    # Drawn between looks as well: the window may have changed, and a look that gets no answer takes long.
    with Live(get_renderable=drawn, console=out, refresh_per_second=2, screen=True):
        while True:
            await asyncio.sleep(args.interval)
            try:
                now = await look()
            except (BusError, CommandError) as error:
                trouble = str(error)
            else:
                found, before, trouble = picture(now, before), now, ""


async def _look(bus: "NatsBus", store: "Store", workers: "tuple[Worker, ...]") -> "Look":
    """What there is now. Raises CommandError where something is missing that the workers need."""
    from services.cli.diagnosing.load import Look
    from services.cli.diagnosing.queues import looks
    from shared.broker.table import Table
    from shared.model.copy import Copy
    from shared.model.refs import TargetRef
    from shared.pipeline import topology
    from shared.pipeline.buckets import INVENTORY, RESERVATIONS

    buckets: list[Bucket[Copy]] = [each for worker in workers for each in topology.owned(worker) if each.holds is Copy]
    missing = await bus.missing((), tuple(each for worker in workers for each in topology.consumers(worker)))
    needed: list[Bucket[Any]] = [INVENTORY, RESERVATIONS, *buckets]
    missing += [f"bucket {each.name}" for each in needed if await store.raw(each).size() is None]
    if missing:
        raise CommandError(f"there is no {missing[0]} in NATS: `moorage doctor` says what else is wrong")
    reservations = await Table(store, RESERVATIONS).entries()
    return Look(
        at=time.monotonic(),
        queues=await looks(bus.client, workers),
        copies={each.owner: len(await store.raw(each).entries()) for each in buckets},
        targets=tuple(entry.value for entry in await Table(store, INVENTORY).entries()),
        reservations=tuple((TargetRef.owning(entry.key).id, entry.value) for entry in reservations),
    )


def _print(found: "LoadPicture", args: argparse.Namespace) -> None:
    if args.output == "json":
        import msgspec

        sys.stdout.write(msgspec.json.format(msgspec.json.encode(found)).decode() + "\n")
    else:
        from services.cli.diagnosing.screen import lines

        sys.stdout.write("\n".join(lines(found, args.targets)) + "\n")
