"""Spans as rows, each below the one that it came of, with a bar for when and how long. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

import msgspec

NOTED = ("moorage.outcome", "moorage.decision", "moorage.reason", "moorage.target", "moorage.health", "moorage.phase")
"""Attributes that stand beside a span, in this order; an outcome that is `ok` says nothing."""
QUEUED = "moorage.queue.seconds"
LEAST_QUEUED = 0.001
"""Seconds that a message must have waited for to be worth a word."""


class FoundSpan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A span as it was found: `start` in seconds since the epoch, `seconds` is how long it took."""

    id: str
    parent: str
    service: str
    operation: str
    start: float
    seconds: float
    error: bool
    attributes: dict[str, str]


class Row(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A span in its place: `depth` below the root, `after` seconds since the trace began, and what it notes."""

    depth: int
    after: float
    notes: str
    span: FoundSpan


def rows(spans: Iterable[FoundSpan]) -> list[Row]:
    """All spans, each after what it came of, and in the order in which they began."""
    known = {each.id: each for each in spans}
    if not known:
        return []
    began = min(each.start for each in known.values())
    below: defaultdict[str, list[FoundSpan]] = defaultdict(list)
    for each in sorted(known.values(), key=lambda span: (span.start, span.id)):
        below[each.parent if each.parent in known and each.parent != each.id else ""].append(each)
    found = list(_under("", below, began, 0))
    shown = {each.span.id for each in found}
    # What is its own ancestor hangs below nothing; it is shown all the same.
    lost = (each for each in known.values() if each.id not in shown)
    return found + [Row(depth=0, after=each.start - began, notes=notes(each), span=each) for each in lost]


def _under(parent: str, below: dict[str, list[FoundSpan]], began: float, depth: int) -> Iterator[Row]:
    waiting = [(each, depth) for each in reversed(below.get(parent, []))]
    while waiting:
        span, level = waiting.pop()
        yield Row(depth=level, after=span.start - began, notes=notes(span), span=span)
        waiting += [(each, level + 1) for each in reversed(below.get(span.id, []))]


def notes(span: FoundSpan) -> str:
    """What a span says of itself, in a few words."""
    said = [span.attributes[name] for name in NOTED if span.attributes.get(name, "ok") not in ("", "ok")]
    try:
        queued = float(span.attributes.get(QUEUED, 0.0))
    except ValueError:
        queued = 0.0
    return ", ".join([*said, *([f"waited {duration(queued)}"] if queued >= LEAST_QUEUED else [])])


def bar(after: float, seconds: float, whole: float, width: int) -> str:
    """When and how long, out of the `whole`, in so many columns; at least one of them is filled."""
    if whole <= 0:
        return "█".ljust(width)
    first = min(int(min(after / whole, 1.0) * width), width - 1)
    last = max(first + 1, round(min((after + seconds) / whole, 1.0) * width))
    return (" " * first + "█" * (last - first)).ljust(width)


def duration(seconds: float) -> str:
    """As people say it: 340 µs, 12.5 ms, 3.20 s."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"
