"""Output of commands: notes on standard error, and rows in columns."""

import sys
from collections.abc import Sequence


def note(text: str) -> None:
    """One line on standard error, so that standard output stays for what was asked for."""
    sys.stderr.write(f"moorage: {text}\n")
    sys.stderr.flush()


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of as many cells each as lines, every column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def printable(text: str) -> str:
    """Text from elsewhere on one line, without what a terminal would act on."""
    return "".join(each if each.isprintable() else " " for each in text)


_UNITS = (("Ti", 2**40), ("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10))


def amount(resource: str, value: float) -> str:
    """An amount in base units, for people: bytes in the largest unit that leaves at least one, else a number."""
    if resource in ("memory", "ephemeral-storage", "storage"):
        unit, size = next(((unit, size) for unit, size in _UNITS if abs(value) >= size), ("", 1))
        return f"{round(value / size, 1):g}{unit}"
    return f"{round(value, 3):g}"
