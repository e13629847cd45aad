"""Which targets a placement has to leave, as time goes by."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from services.controller.core.brake import Braked
from shared.api import Taint, Toleration, tolerates
from shared.hub.facts import all_facts
from shared.kube.times import seconds
from shared.model.request import HeadEntry
from shared.model.target import Target

NO_EXECUTE = "NoExecute"

Expelling = Mapping[Taint, float]
"""The NoExecute taints of a target, and since when each counts, in seconds since the epoch."""


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """A target as this worker sees it: as the inventory has it, or that it has none and since when that is so."""

    target: Target | None = None
    missing_since: float = 0.0  # seconds since the epoch; of no meaning for a target that is there
    expelling: Expelling = {}
    braked: Braked | None = None  # why nothing is moved away from it although it is lost
    closed: bool = False  # whether its owner does not let the placement's namespace be placed there
    preempted: str = ""  # for whom the placement has to leave it, in words; empty where it need not

    @property
    def well(self) -> bool:
        """True if nothing speaks for leaving it, now or later."""
        return self.target is not None and not (
            self.target.lost_since or self.expelling or self.closed or self.preempted
        )


def expelling(target: Target, known: Expelling, now: float) -> dict[Taint, float]:
    """The NoExecute taints of a target, and since when they count: since they were added, where they say so and that is
    not still to come; else, where they were not `known`, since now.
    """
    return {
        taint: min(seconds(taint.time_added or "") or known.get(taint, now), now)
        for taint in target.taints
        if taint.effect == NO_EXECUTE
    }


def leaving_depends_on(target: Target) -> tuple[object, ...]:
    """All of a target that speaks for leaving it, now or later, or may do so."""
    expelling = [taint for taint in target.taints if taint.effect == NO_EXECUTE]
    return target.lost_since, expelling, target.evict_after, target.terms, target.claims, all_facts(target)


def gone(sightings: Mapping[str, Sighting], patience: float, now: float) -> list[str]:
    """The targets that have been in no inventory for `patience` seconds."""
    return [
        target
        for target, sighting in sightings.items()
        if sighting.target is None and now - sighting.missing_since >= patience
    ]


class Patience(msgspec.Struct, frozen=True):
    """Seconds for which a lost target is waited for: what the `placement` tolerates, or its target's owner if that is
    less; but at `least` so long that others can be missed which were lost with it, as the brake has to know of them."""

    placement: float
    least: float = 0.0


def evicted(
    sightings: Mapping[str, Sighting],
    tolerations: Sequence[Toleration],
    patience: Patience,
    now: float,
    *,
    breaks_first: bool = False,
) -> list[str]:
    """The targets that a placement has to leave: unreachable for too long, or tainted NoExecute.

    Only the former is subject to the brake: a taint is somebody's will. Nor is it reason to leave for what may not run
    twice (`breaks_first`): in a target that does not answer it may run still.
    """
    return [
        target
        for target, sighting in sightings.items()
        if sighting.target is not None
        and (
            (not breaks_first and sighting.braked is None and _too_long_lost(sighting.target, patience, now))
            or any(_expels(taint, since, tolerations, now) for taint, since in sighting.expelling.items())
        )
    ]


def braked(sightings: Mapping[str, Sighting], patience: Patience, now: float) -> dict[str, Braked]:
    """The targets that a placement would have to leave if the brake were not on, and why it is."""
    return {
        target: sighting.braked
        for target, sighting in sightings.items()
        if sighting.target is not None and sighting.braked and _too_long_lost(sighting.target, patience, now)
    }


def silent(sightings: Mapping[str, Sighting], patience: Patience, now: float) -> list[str]:
    """The targets that are lost for too long, whatever follows from that."""
    return [
        target
        for target, sighting in sightings.items()
        if sighting.target is not None and _too_long_lost(sighting.target, patience, now)
    ]


def closed(sightings: Mapping[str, Sighting]) -> list[str]:
    """The targets where nothing can be applied (any more): another workspace was faster, or the owner says so."""
    return [target for target, sighting in sightings.items() if sighting.closed]


def preempted(sightings: Mapping[str, Sighting]) -> list[str]:
    """The targets that a placement has to leave for others."""
    return [target for target, sighting in sightings.items() if sighting.preempted]


def leaving_since(entry: HeadEntry | None, leaving: Iterable[str], attempt: int) -> dict[str, int]:
    """Since which attempt it has to leave each of these targets: this one, or as it was noted with the head before."""
    known = entry.leaving_since if entry is not None else {}
    return {target: known.get(target, attempt) for target in leaving}


def clearable(sightings: Iterable[tuple[str, Sighting]]) -> list[str]:
    """The targets that can be reached.

    A removal is given up while its target is lost for long; when the target is back, it is asked for again.
    """
    return [target for target, sighting in sightings if sighting.target is not None and not sighting.target.lost_since]


def _too_long_lost(target: Target, patience: Patience, now: float) -> bool:
    own = patience.placement
    allowed = min(own, target.evict_after) if target.evict_after is not None else own
    return target.lost_since > 0 and now - target.lost_since >= max(allowed, patience.least)


def _expels(taint: Taint, since: float, tolerations: Sequence[Toleration], now: float) -> bool:
    """As Kubernetes has it: the first toleration that matches a taint says for how long."""
    found = next((toleration for toleration in tolerations if tolerates(toleration, taint)), None)
    if found is None:
        return True
    return found.toleration_seconds is not None and now - since >= max(found.toleration_seconds, 0)
