"""The log's lines on placements: one for each fact that is told as an event, when it is told, within its trace."""

import logging
from typing import Any, Final

from shared.model.events import EventData
from shared.model.refs import TargetRef
from shared.pipeline.events import PlacementEvent
from shared.pipeline.measures import handled_for
from shared.process.audit import plain

log = logging.getLogger("moorage.facts")

_MOST_NAMED: Final = 10  # targets
_LEFT_OUT: Final = {"placement", "uid", "requester"}  # the first is named by its id, the last are for the audit log
_TROUBLE: Final = {"refused", "targetlost", "failed", "degraded"}


def write(event: PlacementEvent) -> None:
    """One line: what became true, of which placement and targets, why, and how long it took to find out."""
    data = event.data
    if log.isEnabledFor(logging.INFO):
        level = logging.WARNING if data.kind in _TROUBLE else logging.INFO
        log.log(level, "placement %s", data.kind, extra=fields(data))


def fields(data: EventData) -> dict[str, Any]:
    """What the line says beside the kind of the fact; what is empty is left out."""
    found: dict[str, Any] = {"placement": data.placement.id}
    for field, encoded in zip(data.__struct_fields__, data.__struct_encode_fields__, strict=True):
        value = getattr(data, field)
        if field in _LEFT_OUT or value in ("", (), None):
            continue
        found["why" if field == "message" else encoded] = _shown(value)  # a log line has a message of its own
    took = handled_for()
    return {**found, "seconds": round(took, 3)} if took is not None else found


def _shown(value: Any) -> Any:
    if isinstance(value, TargetRef):
        return value.id
    if isinstance(value, tuple):
        return [_shown(each) for each in value[:_MOST_NAMED]]
    target = getattr(value, "target", None)
    if target is not None:
        return _shown(target)
    return plain(value) if isinstance(value, str) else value
