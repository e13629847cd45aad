"""When what was decided should be in place, and whether it is."""

import hashlib
from collections.abc import Mapping

from services.controller.core.observation import KnownDecision
from shared.aio.backoff import backoff
from shared.api import PlacementStatus
from shared.model.refs import TargetRef
from shared.model.request import HeadEntry

APPLIED = frozenset({"Applied", "Ready", "Degraded"})  # phases of a target in which everything is there
UNDECIDED = frozenset({"Pending", "Scheduling", "Unschedulable"})
MOST = 16  # times as long as at first


def in_place(status: PlacementStatus, decision: KnownDecision, attempts: Mapping[str, int]) -> bool:
    """True if what was decided is in place: in each selected target there is a PlacementBinding of this round
    (`attempts` by target), and the Placement's status says that it is applied.

    Otherwise somebody is still at work, or the message that told him was lost.
    """
    if status.phase in UNDECIDED:
        return False
    if not decision.selected:
        return status.phase in ("Idle", "Removing")  # as was decided; what lingers somewhere is seen to by its binding
    applied = {TargetRef.of(each).id for each in status.targets if each.phase in APPLIED}
    return all(
        choice.target in applied and attempts.get(choice.target) == decision.attempt for choice in decision.selected
    )


def grace_period(first: float, head: HeadEntry) -> float:
    """Seconds that a placement has to come into place once a round was asked for.

    Twice as many after each round in vain, up to 16 times `first`; and up to half as many again, by a hash of its uid,
    so that many placements do not come all at once.
    """
    share = int.from_bytes(hashlib.blake2b(head.head.uid.encode(), digest_size=2).digest(), "big") / 0x10000
    return backoff(head.in_vain + 1, first=first, most=MOST * first) * (1 + share / 2)
