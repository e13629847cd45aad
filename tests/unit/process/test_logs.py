"""Logs of a process: the same complaint over and over is counted and not written."""

import logging

import pytest

from shared.process.logs import Flood, toggle_debug


def record(message: str, at: float, *, level: int = logging.WARNING, logger: str = "moorage.bus") -> logging.LogRecord:
    made = logging.LogRecord(logger, level, "file", 1, message, None, None)
    made.created = at
    return made


def test_a_complaint_is_written_some_times_and_then_counted_until_the_next_period() -> None:
    flood = Flood(burst=3, seconds=10.0)
    assert [flood.filter(record("away", at)) for at in (0.0, 1.0, 2.0, 3.0, 9.9)] == [True, True, True, False, False]
    later = record("away", 10.0)
    assert flood.filter(later)
    assert later.left_out == 2  # type: ignore[attr-defined]
    quiet = record("away", 30.0)
    assert flood.filter(quiet)
    assert not hasattr(quiet, "left_out")


def test_other_complaints_news_and_what_is_told_of_attackers_all_pass() -> None:
    flood = Flood(burst=1, seconds=10.0)
    assert flood.filter(record("away", 0.0))
    assert not flood.filter(record("away", 0.0))
    assert flood.filter(record("something else", 0.0))
    assert flood.filter(record("away", 0.0, level=logging.ERROR))
    assert all(flood.filter(record("ready", 0.0, level=logging.INFO)) for _ in range(5))
    assert all(flood.filter(record("refused", 0.0, logger="moorage.audit")) for _ in range(5))
    assert all(flood.filter(record("failed", 0.0, logger="moorage.facts")) for _ in range(5))


def test_everything_is_written_from_one_signal_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "level", logging.WARNING)
    levels = []
    for _ in range(3):
        toggle_debug()
        levels.append(root.level)
    assert levels == [logging.DEBUG, logging.WARNING, logging.DEBUG]
