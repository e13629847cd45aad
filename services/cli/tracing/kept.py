"""The spans of a trace, as the workers of `moorage up` keep them in a folder."""

from pathlib import Path

import msgspec

from services.cli.support.errors import CommandError
from services.cli.tracing.waterfall import FoundSpan
from shared.process.keeping import KeptSpan

_KEPT = msgspec.json.Decoder(KeptSpan)


def spans(folder: Path, trace: str) -> list[FoundSpan]:
    """All spans of a trace. Raises CommandError where none is kept."""
    found = []
    for file in sorted(folder.glob("*.jsonl")):
        try:
            lines = file.read_bytes().splitlines()
        except OSError as error:
            raise CommandError(f"{file} cannot be read: {error.strerror}") from None
        found += [span for line in lines if trace.encode() in line and (span := _span(line, trace)) is not None]
    if not found:
        raise CommandError(f"of the trace {trace} no span is kept in {folder}, not yet or not any more")
    return found


def _span(line: bytes, trace: str) -> FoundSpan | None:
    """The span of a line, if it is one of this trace; the last line of a file may be cut off."""
    try:
        kept = _KEPT.decode(line)
    except msgspec.MsgspecError:
        return None
    if kept.trace != trace:
        return None
    return FoundSpan(
        id=kept.id,
        parent=kept.parent,
        service=kept.service,
        operation=kept.operation,
        start=kept.start,
        seconds=kept.seconds,
        error=kept.error,
        attributes=dict(kept.attributes),
    )
