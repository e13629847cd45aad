"""What is on record of a placement's last round: the newest message of each stage, which NATS keeps for a day."""

from typing import TypeVar

import msgspec

from services.cli.support.errors import CommandError
from shared.broker.bus import Bus
from shared.broker.claims import CLAIM_HEADER
from shared.broker.nats.bus import NatsBus
from shared.broker.nats.streams import stored
from shared.model.refs import PlacementRef
from shared.pipeline.messages import PIPELINE, Decided, Discovered, Message, Scheduled, decoder
from shared.pipeline.topology import PIPELINE_STREAM

M = TypeVar("M", bound=Message)


class RecordedRound(msgspec.Struct, frozen=True):
    """A round as its stages told of it; `decided` is None while decision has not."""

    discovered: Discovered
    scheduled: Scheduled
    decided: Decided | None


async def last_round(bus: Bus, ref: PlacementRef) -> RecordedRound:
    """The last round of a placement that came as far as the scheduler. Raises CommandError where it is not there any
    more, or a newer one is under way, and BusError."""
    discovered, scheduled, decided = (
        await _newest(bus, Discovered, ref),
        await _newest(bus, Scheduled, ref),
        await _newest(bus, Decided, ref),
    )
    if discovered is None or scheduled is None:
        raise CommandError(f"no round of {ref.id.removeprefix('/')} is on record: NATS keeps the last one, for a day")
    if discovered.at != scheduled.at:
        raise CommandError(f"attempt {discovered.at.attempt} is under way: ask again once it is decided")
    return RecordedRound(discovered, scheduled, decided if decided is not None and decided.at == scheduled.at else None)


async def _newest(bus: Bus, kind: type[M], ref: PlacementRef) -> M | None:
    assert isinstance(bus, NatsBus)
    subject = f"{PIPELINE}.{kind.stage}.{ref.key}"
    found = await stored(bus.client, PIPELINE_STREAM, {"last_by_subj": subject})
    if found is None:
        return None
    claim = found.headers.get(CLAIM_HEADER)
    try:
        payload = found.payload if claim is None else await bus.get_blob(claim)
        message: M = decoder(kind).decode(payload)
    except (KeyError, msgspec.MsgspecError) as error:
        raise CommandError(f"the message on {subject} cannot be read: {error}") from None
    return message
