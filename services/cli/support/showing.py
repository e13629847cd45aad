"""Events on standard output: as lines for people, with colour on a terminal alone, or as JSON lines for programs."""

import sys
from collections.abc import Callable
from datetime import datetime

from rich.console import Console
from rich.text import Text

from services.cli.support.events import KINDS, SeenEvent
from services.cli.support.output import printable
from services.cli.support.sentences import sentence
from shared.cloudevents import structured

STYLES = {
    "Decided": "cyan",
    "Refused": "yellow",
    "Rejected": "red",
    "Moved": "cyan",
    "TargetLost": "red",
    "Bound": "cyan",
    "Failed": "red",
    "Ready": "green",
    "Degraded": "yellow",
    "Suspended": "yellow",
    "Removed": "dim",
}
_WIDTH = max(map(len, KINDS))


def shower(output: str) -> Callable[[SeenEvent], None]:
    """What shows an event at once: `json`, or else a line of text."""
    if output == "json":
        return _as_json
    console = Console(highlight=False, emoji=False, markup=False)
    return lambda event: console.print(line(event), soft_wrap=True)


def line(event: SeenEvent) -> Text:
    """When, which placement, what, and more of it. The time is the event's own, in the time zone of this machine."""
    ref = event.placement
    name = f"{ref.namespace}/{ref.name}" if ref is not None else "-"
    text = Text(f"{_clock(event.time):<8}  {name:<28}  ")
    text.append(f"{event.word:<{_WIDTH}}", STYLES.get(event.word, ""))
    text.append(f"  {printable(sentence(event.data))}".rstrip())
    return text


def _clock(time: str) -> str:
    try:
        return datetime.fromisoformat(time).astimezone().strftime("%H:%M:%S")
    except ValueError:
        return "-"


def _as_json(event: SeenEvent) -> None:
    sys.stdout.write(structured(event.event).decode() + "\n")
    sys.stdout.flush()
