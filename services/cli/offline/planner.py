"""Decisions on a plane on paper, each with every reason why a target fell out.

The pipeline's own code decides: discovery's selection of workspaces, policy's rules, the scheduler's core. Everybody is
authorized, since only a server could say who is not, and whoever offers targets is trusted, unless the plane says whom.
"""

from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from services.cli.offline.plane import Plane
from services.cli.support.errors import CommandError
from services.discovery.core import Candidate, Workspaces, providers_of, screen
from services.scheduler.core import Outcome, refusal_of, schedule
from shared.model.decision import Proposal, Rejection
from shared.model.request import Request
from shared.pipeline.messages import Discovered, Evaluated

AFTER_FILTERS = {"LowScore": "MinimumScore", "OtherTier": "Tiers"}
"""What else excludes a target that every filter let pass, by reason."""
RULE_SECONDS = 2.0
RULE_MEMORY = 512 << 20


@dataclass(frozen=True)
class Answer:
    """The outcome for a placement, and by stage whom the stages before the scheduler rejected."""

    outcome: Outcome
    earlier: Mapping[str, tuple[Rejection, ...]]

    def rejected(self) -> dict[str, list[dict[str, str]]]:
        """Every reason why each target fell out, with the filter (or earlier stage) that says so."""
        found: dict[str, list[dict[str, str]]] = {}

        def note(targets: Iterable[str], filter: str, reason: str, message: str) -> None:
            for target in targets:
                found.setdefault(target, []).append({"filter": filter, "reason": reason, "message": message})

        for stage, rejections in self.earlier.items():
            for each in rejections:
                note(each.targets, stage, each.reason, each.message)
        if self.outcome.candidates is not None:
            ids = self.outcome.candidates.values("id")
            for name, exclusion in self.outcome.exclusions:
                note(ids[exclusion.excluded].tolist(), name, exclusion.reason, exclusion.message)
        for each in self.outcome.rejections:
            if each.reason in AFTER_FILTERS:
                note(each.targets, AFTER_FILTERS[each.reason], each.reason, each.message)
        return dict(sorted(found.items()))


class Planner:
    """Decides placements on a plane, one after the other, in one process. Close it with `async with`."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self._stack = AsyncExitStack()
        self._engine: Any = None
        self._inventory: Any = None
        in_order = sorted(plane.targets.items())  # as they are to be screened, which is then faster
        self._candidates = [Candidate(name, target, frozenset()) for name, target in in_order]

    async def __aenter__(self) -> "Planner":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def decide(self, request: Request, now: float) -> Answer:
        """The scheduler's proposal for a request, and who had fallen out before it was asked.

        Raises CommandError where rules cannot be evaluated at present.
        """
        trusted = self.plane.trusted
        providers = None if trusted is None else (*trusted, *providers_of(request, self.plane.policies))
        screened = screen(request, self._candidates, Workspaces({}), providers)
        discovered = Discovered(
            request=request,
            targets=tuple(each.id for each in screened.candidates),
            rejections=screened.rejections,
            inventory_revision=0,
        )
        evaluated = await self._evaluate(discovered, now)
        by_policy = evaluated.rejections[len(screened.rejections) :]
        refusal = refusal_of(request, evaluated.error)
        if refusal is not None:
            outcome = Outcome(Proposal(strategy=request.spec.strategy.type, refusal=refusal))
        else:
            outcome = schedule(
                request,
                self.plane.snapshot,
                evaluated.targets,
                now=now,
                settings=self.plane.settings,
                policy_scores=evaluated.scores,
                upstream=evaluated.rejections,
            )
        return Answer(outcome, {"Discovery": screened.rejections, "Policy": by_policy})

    async def _evaluate(self, discovered: Discovered, now: float) -> Evaluated:
        if not self.plane.policies and not discovered.request.spec.policies:
            return Evaluated(
                request=discovered.request,
                targets=discovered.targets,
                rejections=discovered.rejections,
                inventory_revision=0,
            )
        from services.policy import stage
        from services.policy.cel.isolation import Unavailable

        if self._engine is None:
            from services.policy.cel.engine import Engine
            from services.policy.cel.isolation import Isolation
            from services.policy.evaluation.columns import TargetColumns

            isolation = Isolation(children=1, deadline=RULE_SECONDS, memory=RULE_MEMORY)
            self._stack.push_async_callback(isolation.close)
            self._engine, self._inventory = Engine(isolation), TargetColumns()
            self._inventory.update(self.plane.targets)
        try:
            return await stage.evaluate(discovered, self._inventory, self.plane.policies, self._engine, now)
        except Unavailable as error:
            raise CommandError(str(error)) from None
