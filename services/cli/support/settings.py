"""The flags of commands that are settings, from `settings.json`, so that help does not wait for what reads settings.

`python -m services.cli.reference` writes that file, from the settings themselves.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from shared.process.flags import add_flags

TABLE = Path(__file__).with_suffix(".json")


def add_settings(parser: argparse.ArgumentParser, kind: str) -> None:
    """A flag for each setting of a struct, by the name of its class."""
    add_flags(parser, _described(_table()["settings"], kind))


def add_worker(parser: argparse.ArgumentParser, worker: str) -> None:
    """The same for the settings of a worker, with a sentence on it."""
    found = _table()["workers"][worker]
    parser.description = found["summary"]
    add_settings(parser, found["settings"])


def _described(of: dict[str, Any], kind: str) -> dict[str, str]:
    base, flags = of[kind]["base"], dict(of[kind]["flags"])
    return _described(of, base) | flags if base else flags


def _table() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(TABLE.read_bytes())
    return read
