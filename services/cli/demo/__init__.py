"""`moorage demo`: see it work. Real workloads placed over real HTTP APIs, a cluster lost, everything gone afterwards.

story.py    what happens, in order
content.py  the files of the world, applied by its users
asking.py   what they ask for over NATS
follow.py   watches of the hub and a subscription on NATS, into the picture
picture.py  what is known of the placements, from the objects seen so far (pure)
render.py   the picture as text (pure)
screen.py   text to a terminal that is redrawn, or as plain lines
"""

import argparse
import contextlib
import os
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from services.cli.support.errors import UsageError
from services.cli.support.examples import EXAMPLES

DEFAULT_WORLD = EXAMPLES / "world.yaml"
OFF = ("", "0", "false", "no")


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "demo",
        description="Start NATS, a sandbox control plane and every worker as a process of its own, place a world's "
        "workloads, lose a cluster, show all of it, and take everything away again. Takes under a minute.",
    )
    parser.add_argument(
        "--data", type=Path, help="empty folder for state and logs (default: a temporary one, removed at the end)"
    )
    parser.add_argument(
        "--world",
        type=Path,
        default=DEFAULT_WORLD,
        help="world file, with the content to apply (default: world.yaml of `moorage examples`)",
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        default=os.environ.get("DEMO_KEEP", "").lower() not in OFF,
        help="stay up at the end, and say how to look around (or DEMO_KEEP=1)",
    )
    parser.add_argument("--no-color", action="store_true", help="no colour on a terminal either (or NO_COLOR=1)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Tell the story; Ctrl-C and SIGTERM end it early, with everything stopped."""
    import asyncio

    from services.cli.demo.screen import Screen
    from services.cli.demo.story import tell
    from services.cli.support import offers

    content = offers.read(args.world)
    if not content.content:
        raise UsageError(f"{args.world} names no content to apply; examples/world.yaml shows how")
    screen = Screen(color=not args.no_color)
    asyncio.run(_until_signal(tell(args.world.absolute(), content, screen, args.data, keep=args.keep)))
    screen.note("everything is stopped")
    return 0


async def _until_signal(story: Coroutine[Any, Any, None]) -> None:
    """Run it; SIGTERM ends it like Ctrl-C does."""
    import asyncio

    telling = asyncio.create_task(story)
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()

    def stop() -> None:
        stopped.set()
        telling.cancel()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
    with contextlib.suppress(asyncio.CancelledError):
        await telling
    if stopped.is_set():
        raise KeyboardInterrupt
