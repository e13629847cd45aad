"""What runs in targets without a reservation, found by discovery: cleared where it is certainly ours, and not wanted.

A hub that was restored from a backup does not know where its workloads went meanwhile; somebody may have taken away
records by hand. What a target says of the owner is no proof: another hub may place there too, under the same names. So
the uid must be one that this hub knows: that of the Placement that is there now, or of the newest head.
"""

import logging

from services.decision import assigning, core
from services.decision.decider import Decider
from shared.kube.errors import KubeError
from shared.model.refs import Head, TargetRef
from shared.model.target import Stray
from shared.pipeline.messages import Assigned

log = logging.getLogger("moorage.decision")

AT_ONCE = 100
"""Strays that are looked at in one go: each takes some requests to the hub."""


async def clear_strays(decider: Decider) -> list[Assigned]:
    """Removals of strays. They are told again until discovery finds them no more; binding asks the hub once more."""
    found = [(entry.value.id, stray) for entry in decider.inventory.entries.values() for stray in entry.value.strays]
    removals = []
    for target, stray in found[:AT_ONCE]:
        try:
            head = await _unwanted(target, stray, decider)
        except KubeError as error:
            said = {"target": target, "placement": str(stray.placement), "error": str(error)}
            log.warning("it is not known whose what runs in a target is", extra=said)
        else:
            if head is not None:
                said = {"target": target, "placement": str(stray.placement)}
                log.warning("what nobody decided is taken out of a target", extra=said)
                removals.append(assigning.removal(stray.placement, head, target, orphan=False))
    return removals


async def _unwanted(target: str, stray: Stray, decider: Decider) -> Head | None:
    """The head under which a stray is to be removed; None where it is not ours, or wanted, or may be soon."""
    ref, known = stray.placement, decider.heads.get(stray.placement.key)
    if not stray.uid or TargetRef.parse(target).key in decider.ledger.held_by(ref):
        return None
    decision = await decider.decisions.read(ref)
    if decision is not None and not decision.whole:
        return None
    status = decision.status if decision is not None else None
    uid = await decider.decisions.uid(ref)
    if uid is not None:  # it lives
        decided = known is not None and status is not None and known.head.attempt == status.attempt
        if uid != stray.uid or known is None or not decided or target in core.selected_ids(status):
            return None
    elif known is None or known.head.uid != stray.uid or status is not None:
        return None
    return known.head
