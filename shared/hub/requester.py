"""The requester of a Placement, as the API server's admission recorded it."""

import msgspec

from shared.api import Placement
from shared.hub.names import REQUESTER_ANNOTATION
from shared.model.request import Requester

_DECODER = msgspec.json.Decoder(Requester)


def requester_of(placement: Placement) -> Requester | None:
    """On whose behalf targets are authorized; None where nothing usable is recorded."""
    recorded = placement.metadata.annotations.get(REQUESTER_ANNOTATION)
    if not recorded:
        return None
    try:
        return _DECODER.decode(recorded)
    except msgspec.MsgspecError:
        return None
