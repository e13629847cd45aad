"""`moorage dead`: messages that were given up, to be listed, shown, and replayed."""

import argparse
import json
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from services.cli.support.broker import broker, settings_of
from services.cli.support.errors import CommandError, UsageError
from services.cli.support.settings import add_settings

if TYPE_CHECKING:
    from shared.broker.bus import Bus, DeadLetter

DESCRIPTION = """\
Messages that no worker could handle go to the dead-letter stream, with the cause.

  moorage dead list          one line per message: its number, when, by whom, on which subject, and why
  moorage dead show 17       its headers and content
  moorage dead replay 17     once the cause is gone: send it again to where it came from
"""

Command = Callable[[argparse.Namespace, "Bus"], Coroutine[Any, Any, int]]


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "dead",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = _add_action(actions, "list", _list, "one line per message")
    listing.add_argument(
        "-o",
        "--output",
        choices=("table", "json", "name"),
        default="table",
        help="json: for scripts; name: numbers alone",
    )
    show = _add_action(actions, "show", _show, "one message, whole, as JSON")
    show.add_argument("sequence", type=int, metavar="SEQUENCE", help="its number, as `moorage dead list` shows it")
    show.add_argument("-o", "--output", choices=("json",), default="json", help="always json")
    replay = _add_action(actions, "replay", _replay, "send messages again, and take them out of the dead letters")
    replay.add_argument(
        "sequence", nargs="*", type=int, metavar="SEQUENCE", help="their numbers, as `moorage dead list` shows them"
    )
    replay.add_argument("--all", action="store_true", help="all of them")
    for action in (listing, show, replay):
        add_settings(action, "NatsSettings")


def _add_action(actions: Any, name: str, action: Command, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.set_defaults(run=run, action=action)
    return parser


def run(args: argparse.Namespace) -> int:
    """List, show or replay."""
    import asyncio

    if args.action is _replay and bool(args.sequence) == args.all:
        raise UsageError("say which messages to replay: either their numbers, or --all")
    return asyncio.run(_run(args))


async def _run(args: argparse.Namespace) -> int:
    from shared.process.settings import NatsSettings

    async with broker(settings_of(args, NatsSettings)) as (bus, _):
        code: int = await args.action(args, bus)
        return code


async def _list(args: argparse.Namespace, bus: "Bus") -> int:
    letters = [letter async for letter in bus.dead_letters()]
    if args.output == "json":
        sys.stdout.write(json.dumps([_summary(letter) for letter in letters], indent=2) + "\n")
        return 0
    if args.output == "name":
        sys.stdout.write("".join(f"{letter.sequence}\n" for letter in letters))
        return 0
    for letter in letters:
        row = _summary(letter)
        sys.stdout.write(
            f"{row['sequence']:>8}  {row['time']}  {row['consumer']:<22} {row['subject']}  {row['cause']}\n"
        )
    if not letters:
        sys.stdout.write("no dead letters\n")
    return 0


async def _show(args: argparse.Namespace, bus: "Bus") -> int:
    letter = await _find(bus, args.sequence)
    whole = {**_summary(letter), "headers": letter.headers, "payload": _readable(letter.payload)}
    sys.stdout.write(json.dumps(whole, indent=2) + "\n")
    return 0


async def _replay(args: argparse.Namespace, bus: "Bus") -> int:
    letters = (
        [letter async for letter in bus.dead_letters()] if args.all else [await _find(bus, n) for n in args.sequence]
    )
    for letter in letters:
        try:
            await bus.replay(letter)
        except ValueError as error:
            raise CommandError(str(error)) from None
        sys.stdout.write(f"replayed {letter.sequence} to {_summary(letter)['subject']}\n")
    return 0


async def _find(bus: "Bus", sequence: int) -> "DeadLetter":
    async for letter in bus.dead_letters():
        if letter.sequence == sequence:
            return letter
    raise CommandError(f"there is no dead letter {sequence}; `moorage dead list` shows those that there are")


def _summary(letter: "DeadLetter") -> dict[str, Any]:
    return {
        "sequence": letter.sequence,
        "time": letter.time,
        "consumer": letter.consumer,
        "subject": letter.subject,
        "cause": letter.cause,
    }


def _readable(payload: bytes) -> Any:
    """JSON where it is JSON, else text, with what is not text shown as escapes."""
    try:
        return json.loads(payload)
    except ValueError:
        return payload.decode(errors="backslashreplace")
