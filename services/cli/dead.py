"""`moorage dead`: messages that were given up, to be listed, shown, and replayed."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from services.cli.main import CommandError
from shared.bus import Bus, BusError, DeadLetter
from shared.settings import Settings, SettingsError, add_arguments, load

CONNECT_TIMEOUT = 10.0


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "dead",
        help="list, show and replay messages that were given up",
        description="Messages that no worker could handle are parked with their cause in the dead-letter stream. "
        "Replaying one sends it again to where it came from.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, action, text in (
        ("list", _list, "one line per message"),
        ("show", _show, "one message, whole"),
        ("replay", _replay, "send messages again, and take them out of the dead letters"),
    ):
        each = actions.add_parser(name, help=text, description=text.capitalize() + ".")
        if name == "replay":
            each.add_argument(
                "sequence", nargs="*", type=int, help="sequence numbers, as `moorage dead list` shows them"
            )
            each.add_argument("--all", action="store_true", help="all of them")
        elif name == "show":
            each.add_argument("sequence", type=int, help="sequence number, as `moorage dead list` shows it")
        if name != "replay":
            each.add_argument("-o", "--output", choices=("table", "json"), default="table", help="json: for scripts")
        add_arguments(each, Settings)
        each.set_defaults(run=_runner(action))


Action = Callable[[argparse.Namespace, Bus], Coroutine[Any, Any, int]]


def _runner(action: Action) -> Callable[[argparse.Namespace], int]:
    async def act(args: argparse.Namespace) -> int:
        async with _bus(args) as bus:
            return await action(args, bus)

    def run(args: argparse.Namespace) -> int:
        try:
            return asyncio.run(act(args))
        except (BusError, SettingsError) as error:
            raise CommandError(str(error)) from None

    return run


@asynccontextmanager
async def _bus(args: argparse.Namespace) -> AsyncIterator[Bus]:
    from shared.runner import connect

    settings = load(Settings, vars(args), os.environ)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            bus, _ = await connect("moorage-cli", settings)
    except TimeoutError:
        raise CommandError(f"no NATS answers at {settings.nats_url} within {CONNECT_TIMEOUT:g} s") from None
    try:
        yield bus
    finally:
        await bus.close()


async def _list(args: argparse.Namespace, bus: Bus) -> int:
    letters = [letter async for letter in bus.dead_letters()]
    if args.output == "json":
        sys.stdout.write(json.dumps([_summary(letter) for letter in letters], indent=2) + "\n")
        return 0
    for letter in letters:
        row = _summary(letter)
        sys.stdout.write(
            f"{row['sequence']:>8}  {row['time']}  {row['consumer']:<22} {row['subject']}  {row['cause']}\n"
        )
    if not letters:
        sys.stdout.write("no dead letters\n")
    return 0


async def _show(args: argparse.Namespace, bus: Bus) -> int:
    letter = await _find(bus, args.sequence)
    whole = {**_summary(letter), "headers": letter.headers, "payload": _readable(letter.payload)}
    sys.stdout.write(json.dumps(whole, indent=2) + "\n")
    return 0


async def _replay(args: argparse.Namespace, bus: Bus) -> int:
    if not args.sequence and not args.all:
        raise CommandError("say which: sequence numbers, or --all")
    letters = (
        [letter async for letter in bus.dead_letters()] if args.all else [await _find(bus, n) for n in args.sequence]
    )
    for letter in letters:
        await bus.replay(letter)
        sys.stdout.write(f"replayed {letter.sequence} to {_summary(letter)['subject']}\n")
    return 0


async def _find(bus: Bus, sequence: int) -> DeadLetter:
    async for letter in bus.dead_letters():
        if letter.sequence == sequence:
            return letter
    raise CommandError(f"there is no dead letter {sequence}; `moorage dead list` shows those that there are")


def _summary(letter: DeadLetter) -> dict[str, Any]:
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
