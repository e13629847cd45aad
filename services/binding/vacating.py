"""Break before make: of what may not run twice, nothing starts in a target before all is gone from those that are left.

Nobody keeps a state for it. Whatever is in a target, or may be soon, has a PlacementBinding, which stays until the
target is cleared. So whoever is about to start one reads those of the placement, after the decision by which it starts.
"""

from collections.abc import Callable, Iterable

from services.binding.core import Wanted
from services.binding.records import Facts, Records
from services.binding.runs import successors
from services.binding.trouble import VACATING, Trouble, passing
from shared.aio.sharing import JointReads
from shared.api import PlacementBinding, PlacementDecision, get_condition
from shared.hub.moving import may_run_there
from shared.hub.rollout import by_target
from shared.model.refs import TargetRef
from shared.pipeline.messages import Assigned

_NAMED = 5
_LONGEST = 1024  # characters of what is said of one target


class Vacating:
    """The bindings of one placement are read once for all its targets that ask at the same time. `lost` says whether a
    target does not answer."""

    def __init__(self, records: Records, lost: Callable[[str], bool]) -> None:
        self._bindings = JointReads(records.others)
        self._lost = lost

    async def awaited(self, message: Assigned, facts: Facts, wanted: Wanted) -> Wanted | Trouble:
        """What is wanted in a target; or, where it may not start there yet, why. Raises what the hub answers."""
        placement, decision, before = facts.placement, facts.decision, facts.binding
        if placement is None or not placement.spec.stability.breaks_first or decision is None:
            return wanted
        if before is not None and before.spec.manifests:
            return wanted  # it runs here already
        bindings = by_target(message.placement.name, await self._bindings.get(message.placement))
        left = in_the_way(message.target, decision, bindings.values())
        return self._trouble(left) if left else wanted

    def _trouble(self, left: list[PlacementBinding]) -> Trouble:
        said = [self._said(each) for each in left[:_NAMED]]
        more = f"; and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
        return passing(VACATING, f"it starts here once it is gone elsewhere: {'; '.join(said)}{more}")

    def _said(self, binding: PlacementBinding) -> str:
        target = TargetRef.of(binding.spec.target)
        if self._lost(target.id):
            return f"{target.name} is lost: {may_run_there(target.id)}"
        applied = get_condition(binding.status.conditions, "Applied")
        why = f" ({applied.message[:_LONGEST]})" if applied is not None and applied.status == "False" else ""
        return f"it is being removed from {target.name}{why}"


def in_the_way(
    target: str, decision: PlacementDecision, bindings: Iterable[PlacementBinding]
) -> list[PlacementBinding]:
    """Those of a placement's bindings whose targets have to be cleared before it starts in another one: of all that is
    not selected, also of what began nothing yet, since it may be about to. Where all ended that runs, and has to be on
    record elsewhere before it goes, nothing runs twice.
    """
    selected = {TargetRef.of(each.target).id for each in decision.status.selected}
    others = {TargetRef.of(each.spec.target).id: each for each in bindings}
    return [
        each
        for name, each in sorted(others.items())
        if name != target and name not in selected and not successors(each, decision)
    ]
