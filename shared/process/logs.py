"""Logs of one process: JSON lines for machines, text for people, each with its trace and placement."""

import json
import logging
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from shared.aio.lru import Lru
from shared.process.tracing import current_placement, current_trace

_ALL_PASS = frozenset({"moorage.audit", "moorage.facts"})
log = logging.getLogger("moorage.process")

_level = logging.INFO
_COMPLAINTS = 1000  # different ones that are remembered

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, trace, placement, and what the call gave as `extra`."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= _context()
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """For people: time, level, service, message, then `name=value`."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        clock = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD} | _context()
        parts = [clock, record.levelname[:4], f"{self._service:<10}", record.getMessage()]
        parts += [f"{name}={value}" for name, value in extra.items() if name != "trace"]
        text = " ".join(parts)
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class Flood(logging.Filter):
    """Lets the same complaint through `burst` times in `seconds`, and counts the others: the next one says how many.

    A complaint is the same when logger, level and words are (what it gave as `extra` may differ). When NATS or a hub is
    away, everything in hand complains, again and again. What is told of attackers is evidence, and what became of a
    placement is said once: all of that passes.
    """

    def __init__(self, burst: int = 10, seconds: float = 30.0) -> None:
        super().__init__()
        self._burst = burst
        self._seconds = seconds
        self._windows: Lru[tuple[str, int, str], _Window] = Lru(_COMPLAINTS)

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING or record.name in _ALL_PASS:
            return True
        key = (record.name, record.levelno, str(record.msg))
        window = self._windows.get(key)
        if window is None or record.created - window.since >= self._seconds:
            if window is not None and window.left_out:
                record.left_out = window.left_out
            self._windows.put(key, _Window(record.created))
            return True
        window.passed += 1
        if window.passed <= self._burst:
            return True
        window.left_out += 1
        return False


@dataclass
class _Window:
    since: float
    passed: int = 1
    left_out: int = 0


def _closing_tls(record: logging.LogRecord) -> bool:
    """uvloop logs an error when it closes a TLS connection that the other side closed first; nothing is lost."""
    return not record.getMessage().startswith("Fatal error on SSL protocol")


def _context() -> dict[str, str]:
    found = {"trace": current_trace(), "placement": current_placement()}
    return {name: value for name, value in found.items() if value}


def set_up_logging(service: str, level: str, style: Literal["auto", "json", "text"]) -> None:
    """Log to standard error, once for the process; `auto` is text on a terminal and JSON lines elsewhere."""
    text = style == "text" or (style == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler()
    handler.addFilter(Flood())
    handler.setFormatter(TextFormatter(service) if text else JsonFormatter(service))
    logging.getLogger("asyncio").addFilter(_closing_tls)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("aiohttp.access", "urllib3", "asyncio"):
        logging.getLogger(noisy).setLevel("WARNING")


def toggle_debug() -> None:
    """Write everything from now on, or what was written before that: SIGUSR1 does it."""
    global _level  # noqa: PLW0603 - the level that was set, of the one root logger
    root = logging.getLogger()
    if root.level != logging.DEBUG:
        _level = root.level
        root.setLevel(logging.DEBUG)
    else:
        root.setLevel(_level)
    log.warning("log level is %s", logging.getLevelName(root.level).lower())
