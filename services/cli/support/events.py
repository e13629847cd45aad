"""Events of placements as commands read them: which there are, and whether something is so by now. Pure."""

from collections.abc import Iterable
from typing import Final

import msgspec

from shared.cloudevents import CloudEvent, InvalidEvent, parse
from shared.model.asking import AcceptedData, RejectedData
from shared.model.events import EVENTS, EventData, RemovedData, type_of
from shared.model.refs import PlacementRef

Data = EventData | AcceptedData | RejectedData

_TYPES: Final[tuple[type[Data], ...]] = (*EVENTS, AcceptedData, RejectedData)
KINDS: Final = {each.__name__.removesuffix("Data"): each for each in _TYPES}
"""The data of each type of event, by its word as people write it: Requested, Decided and so on."""

STANDING: Final = frozenset({"Ready", "Degraded", "Suspended", "Removed"})
"""Of these only the last one is so: each says that the ones before it are no more."""
DECIDING: Final = frozenset({"Decided", "Refused"})
"""Likewise."""

_DECODERS: Final = {type_of(each.kind): (word, msgspec.json.Decoder(each)) for word, each in KINDS.items()}


class SeenEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event: its type in a word, which object and generation it is about, where it names one, and all of it.

    `time` is when it became true, in RFC 3339; where that is not told, when it was stored.
    """

    word: str
    placement: PlacementRef | None
    uid: str
    generation: int
    time: str
    data: Data
    event: CloudEvent


def seen(payload: bytes, headers: dict[str, str] | None = None, stored: str = "") -> SeenEvent | None:
    """The event in a message that was `stored` then; None for what is none, or of an unknown type."""
    try:
        event = parse(payload, headers or {})
        word, decoder = _DECODERS[event.type]
        data = decoder.decode(event.data)
    except (InvalidEvent, KeyError, msgspec.MsgspecError):
        return None
    uid, generation = ("", 0) if isinstance(data, RejectedData) else (data.uid, data.generation)
    return SeenEvent(
        word=word,
        placement=data.placement,
        uid=uid,
        generation=generation,
        time=event.time or stored,
        data=data,
        event=event,
    )


def proof(word: str, history: Iterable[SeenEvent], uid: str = "", generation: int = 0) -> SeenEvent | None:
    """The event by which something is so of one placement, after these events of it, the oldest first; None: it is not.

    What was said of an older object of that name, or of an older generation of its spec, does not count; nor does what
    a later event of the same set (`STANDING`, `DECIDING`) replaced. With `uid` only that object counts, and with
    `generation` only from that one on.
    """
    events = [each for each in history if each.uid and uid in ("", each.uid) and each.generation >= generation]
    if not events:
        return None
    uid = events[-1].uid
    generation = max(each.generation for each in events if each.uid == uid)
    current = [each for each in events if (each.uid, each.generation) == (uid, generation)]
    for replacing in (STANDING, DECIDING):
        if word in replacing:
            current = [each for each in current if each.word in replacing and not _of_one_target(each)][-1:]
    return next((each for each in reversed(current) if each.word == word), None)


def _of_one_target(event: SeenEvent) -> bool:
    """Removed from one target says nothing of the whole."""
    return isinstance(event.data, RemovedData) and event.data.target is not None
