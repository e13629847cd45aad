"""The option -f: files, folders and standard input, as often as one likes."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from services.cli.support.errors import UsageError

if TYPE_CHECKING:
    from services.cli.support.manifests import Manifest

SUFFIXES = (".yaml", ".yml", ".json")
"""Of a folder, the files with these are read, and folders below it are not, as with kubectl."""


def add_files(parser: argparse.ArgumentParser, what: str, *, required: bool = False) -> None:
    """The option, as `file`."""
    parser.add_argument(
        "-f",
        "--file",
        "--filename",
        dest="file",
        action="append",
        default=[],
        required=required,
        metavar="FILE",
        help=f"{what}: YAML or JSON, or a folder with such files; - is standard input; may be repeated",
    )


def read_all(paths: Sequence[str]) -> "list[Manifest]":
    """The objects of all these files; raises UsageError for what cannot be read, and names it."""
    from services.cli.support.manifests import InvalidManifest, read

    try:
        return [each for path in paths for file in files_in(path) for each in read(file)]
    except InvalidManifest as error:
        raise UsageError(str(error)) from None


def files_in(path: str) -> Iterator[str]:
    """The file, or those of a folder; raises UsageError for a folder without any."""
    folder = Path(path)
    if path == "-" or not folder.is_dir():
        yield path
        return
    found = sorted(each for each in folder.iterdir() if each.suffix in SUFFIXES and each.is_file())
    if not found:
        raise UsageError(f"{path}: there is no file ending in {', '.join(SUFFIXES)} in it")
    yield from map(str, found)
