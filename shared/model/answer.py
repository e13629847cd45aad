"""What a question is answered with."""

from shared.api import PlacementDecisionStatus
from shared.model.decision import Refusal
from shared.model.refs import PlacementRef
from shared.model.value import Value


class CapacityHold(Value, frozen=True, kw_only=True):
    """Capacity that is held for a placement to come, under an id and until a time (RFC 3339), in so many targets."""

    id: str
    until: str
    targets: int


class DecisionAnswer(Value, frozen=True, kw_only=True):
    """What would be decided for a placement now: the PlacementDecision as it would be written, or why there is none.

    No target is named that the requester may not use.
    """

    placement: PlacementRef
    decision: PlacementDecisionStatus
    refusal: Refusal | None = None
    considered: int = 0
    hold: CapacityHold | None = None
