"""The requester of a Placement, or author of what operators write, as the API server's admission recorded them."""

import msgspec

from shared.api import Placement, PlacementOverride, PlacementPolicy, PolicyException
from shared.hub.names import REQUESTER_ANNOTATION
from shared.model.request import Requester

_DECODER = msgspec.json.Decoder(Requester)


def requester_of(object: Placement | PlacementOverride | PlacementPolicy | PolicyException) -> Requester | None:
    """On whose behalf it is asked who may do what; None where nothing usable is recorded."""
    recorded = object.metadata.annotations.get(REQUESTER_ANNOTATION)
    if not recorded:
        return None
    try:
        return _DECODER.decode(recorded)
    except msgspec.MsgspecError:
        return None
