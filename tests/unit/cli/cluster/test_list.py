"""`moorage cluster list`: all clusters at first, and with --watch what has changed since."""

import argparse

import msgspec
import pytest

from services.cli.cluster.list import _show
from services.cli.cluster.picture import row
from shared.api import ObjectMeta, SyncTarget

ROWS = [row("root:p", SyncTarget(metadata=ObjectMeta(name=name)), []) for name in ("north", "south")]


def shown(capsys: pytest.CaptureFixture[str], output: str = "table", **more: object) -> list[str]:
    args = argparse.Namespace(output=output, all_workspaces=False)
    _show(ROWS, args, **more)  # type: ignore[arg-type]  # what each case gives
    return [line.split()[0] for line in capsys.readouterr().out.splitlines()]


def test_all_are_shown_below_a_heading_at_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys) == ["NAME", "north", "south"]


def test_a_watch_shows_what_is_otherwise_than_it_was_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, known=ROWS) == []
    assert shown(capsys, known=[ROWS[0], msgspec.structs.replace(ROWS[1], placements=3)]) == ["south"]
    assert shown(capsys, known=[]) == ["north", "south"]


def test_names_are_printed_alone_for_other_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "name") == ["north", "south"]
