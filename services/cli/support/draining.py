"""The taint of a target that is drained. Pure."""

from collections.abc import Sequence
from typing import Final

import msgspec

from shared.api import Taint
from shared.hub.names import DRAIN_TAINT

DRAIN: Final = Taint(key=DRAIN_TAINT, effect="NoExecute")


def drained(taints: Sequence[Taint], since: str) -> tuple[Taint, ...]:
    """The taints of a target that is drained, `since` now (RFC 3339) or before."""
    if any(taint.key == DRAIN_TAINT for taint in taints):
        return tuple(taints)
    return (*taints, msgspec.structs.replace(DRAIN, time_added=since))
