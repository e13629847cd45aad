"""Spans that are kept in files of one folder, for `moorage trace` where no collector of spans is there.

Each process has two files at most, a line of JSON for each span, and begins a new one when the one so far is full.
"""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TextIO

import msgspec

from shared.process.recorded import AttributeValue, RecordedSpan, place

FULL: Final = 4 << 20
"""Bytes of a file, some ten thousand spans."""
SUFFIX: Final = ".spans.jsonl"


class KeptSpan(msgspec.Struct, frozen=True, kw_only=True):
    """A span as it is kept: `start` and `seconds` in seconds, the former since the epoch."""

    trace: str
    id: str
    parent: str
    service: str
    operation: str
    start: float
    seconds: float
    error: bool
    attributes: Mapping[str, str]


class SpanKeeper:
    """Records spans of one process as `Recorder` does, all but those whose parent is not recorded."""

    def __init__(self, service: str, folder: Path) -> None:
        self._service = service
        self._path = folder / f"{service}-{os.getpid()}{SUFFIX}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = self._open()

    def begin(
        self,
        name: str,
        headers: Mapping[str, str],
        kind: str,
        attributes: Mapping[str, AttributeValue],
        identity: str,
        links: Sequence[str],
        since: float,
        *,
        decided: bool,
    ) -> tuple[dict[str, str], RecordedSpan | None]:
        """See `Recorder.begin`."""
        trace, own, above, flags, state = place(headers, identity)
        sampled = not (above and decided) or int(flags, 16) & 1 == 1
        onward = {"traceparent": f"00-{trace}-{own}-0{int(sampled)}"}
        if state:
            onward["tracestate"] = state
        if not sampled:
            return onward, None
        follows = [(each[3:35], each[36:52]) for each in links]
        start = int(since * 1e9) if since else time.time_ns()
        return onward, RecordedSpan(name, kind, trace, own, above, state, start, dict(attributes), follows)

    def end(self, span: RecordedSpan) -> None:
        """It is over: keep it. Where that cannot be, as on a full disk, it is lost, and nothing else."""
        try:
            if self._file.tell() > FULL:
                self._file.close()
                self._path.replace(self._path.with_suffix(".old.jsonl"))
                self._file = self._open()
            self._file.write(msgspec.json.encode(self._kept(span, time.time_ns())).decode() + "\n")
        except (OSError, ValueError):  # a file that could not be opened again is closed
            pass

    def _open(self) -> TextIO:
        """Attributes name what tenants place: the file is for nobody else, and no link is followed to it."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        return os.fdopen(os.open(self._path, flags, 0o600), "a", encoding="utf-8", buffering=1)

    def _kept(self, span: RecordedSpan, end: int) -> KeptSpan:
        return KeptSpan(
            trace=span.trace,
            id=span.id,
            parent=span.parent,
            service=f"moorage-{self._service}",
            operation=span.name,
            start=span.start / 1e9,
            seconds=(end - span.start) / 1e9,
            error=span.error is not None,
            attributes={key: _text(value) for key, value in span.attributes.items()}
            | ({} if span.error is None else {"otel.status_description": span.error}),
        )

    def close(self) -> None:
        """No more comes."""
        self._file.close()


def _text(value: AttributeValue) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
