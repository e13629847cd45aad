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
