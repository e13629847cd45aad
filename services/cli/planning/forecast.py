"""Which placements would be decided anew after a change, and to what: by what the controller and the pipeline do.

Whether a placement is decided anew is the controller's own word (`next_step`), asked of what it would see some time
after the change; what is decided then is the planner's, one placement after the other.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from services.cli.offline.changes import ChangeKind, PlannedChange, change_of, places
from services.cli.offline.labelled import unknown
from services.cli.offline.objects import Manifest, decoded, labels_of, ref_of
from services.cli.offline.plane import Plane
from services.cli.offline.planner import Answer, Planner
from services.cli.offline.requests import request_from
from services.cli.planning.whatif import WhatIf
from services.controller.core.brake import Braked, BrakeSettings, brake
from services.controller.core.digest import digest
from services.controller.core.eviction import Sighting, expelling
from services.controller.core.observation import KnownDecision, Observation, known_decision
from services.controller.core.rebalance import looking
from services.controller.core.steps import Hold, Place, is_live, next_step
from services.controller.settings import ControllerSettings
from shared.api import Placement, decode_placement
from shared.hub.holding import labels_for, reaches
from shared.hub.terms import is_closed
from shared.model.policy import PolicyEntry
from shared.model.refs import Head, PlacementRef
from shared.model.request import HeadEntry, PreviousChoice, Request, Requester, Waiting

Denied = Callable[[Requester | None, Collection[str]], Awaitable[set[str]]]
"""Which of these targets a requester may not use."""


async def nobody_is_denied(requester: Requester | None, targets: Collection[str]) -> set[str]:  # noqa: ARG001 - whoever it is
    """On paper nobody can say who may use a target."""
    return set()


@dataclass
class Forecast:
    """Says what would become of placements on a plane, which holds what was decided afterwards.

    `after` is how many seconds after the change is looked: what tolerates a loss for longer stays until then.
    """

    plane: Plane
    settings: ControllerSettings
    now: float
    after: float = 3600.0
    denied: Denied = nobody_is_denied
    _policies: dict[str, list[PolicyEntry]] = field(default_factory=dict)
    _requests: dict[PlacementRef, Request] = field(default_factory=dict)

    async def of(self, placements: Sequence[Manifest], what_if: WhatIf) -> list[PlannedChange]:
        """What would become of each placement. What is on record as decided counts as it is; what is not is decided
        before the change, too.

        Raises UsageError, `InvalidManifest`, and CommandError where rules cannot be evaluated at present.
        """
        await self._decide_what_is_not(placements)
        requests = {ref_of(each): request_from(self.plane, each, self.now) for each in placements}
        before = {ref: self._digest(request) for ref, request in requests.items()}
        what_if.change(self.plane, self.now)
        self._policies.clear()
        limits = BrakeSettings(share=self.settings.brake_share, window=self.settings.brake_window_seconds)
        braked = brake(self.plane.targets.values(), limits)
        manifests = what_if.placements(placements)
        wishes = {ref: decoded(decode_placement, each) for ref, each in manifests.items()}
        found: dict[PlacementRef, PlannedChange] = {}
        async with Planner(self.plane) as planner:
            for ref in sorted(wishes, key=lambda ref: (self._refused(ref), -wishes[ref].spec.priority, ref)):
                request = requests.get(ref)
                if request is None or what_if.applied:  # else it is what it was
                    request = request_from(self.plane, manifests[ref], self.now)
                self._requests[ref] = request
                seen = self._observed(ref, wishes[ref], before.get(ref), self._digest(request), braked)
                found[ref] = await self._become(planner, request, seen)
        return [found[ref] for ref in wishes]

    def unknown(self) -> list[str]:
        """Whose labels policies go by, and nobody knows."""
        return unknown(self._requests.values(), self.plane.policies)

    async def _decide_what_is_not(self, placements: Iterable[Manifest]) -> None:
        async with Planner(self.plane) as planner:
            for manifest in placements:
                ref = ref_of(manifest)
                if ref not in self.plane.decided and is_live(decoded(decode_placement, manifest)):
                    request = request_from(self.plane, manifest, self.now)
                    answer = await self._answer(planner, request)
                    self.plane.decided[ref] = planner.recorded(request, answer, self.now)
                    self._hold(ref, labels_of(manifest), answer)

    async def _answer(self, planner: Planner, request: Request) -> Answer:
        without = await self.denied(request.requester, self.plane.targets)
        return await planner.decide(request, self.now, without=without)

    def _hold(self, ref: PlacementRef, labels: dict[str, str], answer: Answer) -> None:
        proposal = answer.outcome.proposal
        if proposal.refusal is not None:
            return  # what runs stays
        self.plane.hold(ref, labels, {each.target: each.reserve for each in proposal.selected})
        self.plane.previous[ref] = tuple(
            PreviousChoice(target=each.target, replicas=each.replicas) for each in proposal.selected
        )

    def _refused(self, ref: PlacementRef) -> bool:
        """Whether it waits for room, and so comes after those that may give some back."""
        return ref in self.plane.decided and bool(self.plane.decided[ref].refusal)

    def _digest(self, request: Request) -> str:
        """Of the input of a placement, as the controller notes it with the head."""
        workspace = request.placement.workspace
        if workspace not in self._policies:
            self._policies[workspace] = [each for each in self.plane.policies if reaches(each.workspace, workspace)]
        policies, namespace = self._policies[workspace], request.scope_labels.namespace
        return digest(
            request.spec,
            request.labels,
            request.requester,
            request.workload,
            request.error,
            policies,
            applied=request.input_digest,
            overrides=request.operator_overrides,
            scope=labels_for(policies, workspace, self.plane.workspaces.get, namespace),
        )

    def _observed(
        self, ref: PlacementRef, placement: Placement, before: str | None, digest: str, braked: dict[str, Braked]
    ) -> Observation:
        """What the controller sees of a placement some time after the change, if nothing else happens until then."""
        later = self.now + self.after
        status = self.plane.decided.get(ref)
        decision = KnownDecision(attempt=0) if status is None else known_decision(status)
        head = Head(uid=placement.metadata.uid, generation=placement.metadata.generation, attempt=decision.attempt)
        looked_at = later - self.settings.rebalance_seconds  # so that those that look for better targets do so now
        waits = Waiting(placement=ref, head=head, since=0.0, tries=1, tried_at=0.0, next_try=0.0)
        return Observation(
            placement=placement,
            entry=None if before is None else HeadEntry(head=head, digest=before, requested_at=looked_at),
            digest=digest,
            decision=decision,
            waiting=waits if self._refused(ref) else None,
            targets={each.target: self._sighting(each.target, ref, braked) for each in decision.selected},
            world_changed_at=later,
            now=later,
            settings=self.settings,
        )

    def _sighting(self, target: str, ref: PlacementRef, braked: dict[str, Braked]) -> Sighting:
        known = self.plane.targets.get(target)
        if known is None:
            return Sighting()
        return Sighting(
            target=known,
            expelling=expelling(known, {}, self.now),
            braked=braked.get(target),
            closed=is_closed(known, ref.workspace, ref.namespace),
        )

    async def _become(self, planner: Planner, request: Request, seen: Observation) -> PlannedChange:
        ref = request.placement
        before = places(self.plane.previous.get(ref, ()))
        step = next_step(seen)
        if isinstance(step, Hold):
            return PlannedChange(ref, "Held", before, before, refusal=step.why)
        if not isinstance(step, Place):
            return PlannedChange(ref, "Unchanged", before, before)
        spec = looking(request.spec) if step.looks else request.spec
        request = msgspec.structs.replace(request, cause=step.cause, leaving=step.leaving, spec=spec)
        answer = await self._answer(planner, request)
        change = change_of(request, before, answer, is_new=seen.entry is None)
        self._hold(ref, request.labels, answer)
        return change


def moved(change: PlannedChange) -> int:
    """How many replicas would start where none of them runs now."""
    had = dict(change.before)
    return sum(max(0, (replicas or 0) - (had.get(target) or 0)) for target, replicas in change.after)


def counts(changes: Iterable[PlannedChange]) -> dict[ChangeKind, int]:
    """How many placements there are of each kind of change."""
    found: dict[ChangeKind, int] = {}
    for each in changes:
        found[each.kind] = found.get(each.kind, 0) + 1
    return found
