"""The load of a running system as lines of text: all of it, or what a terminal has room for. Pure."""

from collections.abc import Iterator, Sequence
from typing import Final

from services.cli.diagnosing.load import LoadPicture
from services.cli.support.output import aligned, printable

GIB: Final = 1 << 30


def lines(found: LoadPicture, most: int) -> list[str]:
    """Queues, and the `most` fullest targets."""
    return [*_queues(found), "", *_targets(found, most)]


def screen(heading: Sequence[str], found: LoadPicture, most: int, width: int, height: int) -> list[str]:
    """What is shown on a terminal of this size: not more than fits, and how much does not."""
    above = [*map(printable, heading), *_queues(found), ""]
    room = height - len(above) - 2  # but for the heads of its columns, and how many targets more there are
    shown = [*above, *_targets(found, max(min(most, room), 1))]
    if len(shown) > height:
        shown = [*shown[: height - 1], f"and {len(shown) - height + 1} lines that there is no room for"]
    return [_cut(line, width) for line in shown]


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else f"{line[: max(width - 1, 0)]}…"


def _queues(found: LoadPicture) -> list[str]:
    rows = [("WORKER", "QUEUE", "COPIES", "WAITING", "IN HAND", "PER SECOND", "OLDEST")]
    rows += [
        (
            each.worker,
            each.consumer.removeprefix(f"{each.worker}-"),
            str(each.copies),
            str(each.waiting),
            str(each.in_hand),
            "-" if each.per_second is None else f"{each.per_second:.1f}",
            "-" if each.oldest_seconds is None else f"{each.oldest_seconds:.1f} s",
        )
        for each in found.queues
    ]
    return aligned(rows)


def _targets(found: LoadPicture, most: int) -> Iterator[str]:
    if not found.targets:
        yield "no target is known"
        return
    rows: list[Sequence[str]] = [("TARGET", "STATE", "PLACEMENTS", "CPU", "FREE", "MEMORY", "FREE")]
    for each in found.targets[:most]:
        cpu, memory = each.free.get("cpu"), each.free.get("memory")
        rows.append(
            (
                each.target,
                each.state,
                str(each.placements),
                _share(each.taken.get("cpu")),
                "-" if cpu is None else f"{cpu:.1f}",
                _share(each.taken.get("memory")),
                "-" if memory is None else f"{memory / GIB:.1f} GiB",
            )
        )
    yield from aligned(rows)
    if len(found.targets) > most:
        yield f"and {len(found.targets) - most} targets that are less full"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"
