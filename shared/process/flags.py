"""Flags for settings, of what was written down of them: nothing is loaded that a help text would have to wait for."""

import argparse
from collections.abc import Mapping


def add_flags(parser: argparse.ArgumentParser, described: Mapping[str, str]) -> None:
    """A flag for each setting, by its name, with its help; a flag that is not given stays absent from the namespace."""
    group = parser.add_argument_group("settings", "Each can also be set in the environment, by the name in brackets.")
    for name, text in described.items():
        flag = "--" + name.replace("_", "-")
        group.add_argument(flag, dest=name, default=argparse.SUPPRESS, metavar="VALUE", help=text.replace("%", "%%"))
