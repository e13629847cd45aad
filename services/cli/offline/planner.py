"""Decisions on a plane on paper, each with every reason why a target fell out.

The pipeline's own code decides: discovery's selection of workspaces, policy's rules, the scheduler's core. Everybody is
authorized, since only a server could say who is not, and whoever offers targets is trusted, unless the plane says whom.
"""

from collections.abc import Collection, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from services.cli.offline.plane import Plane
from services.cli.support.errors import CommandError
from services.discovery.core import Candidate, Screened, Workspaces, providers_of, screen
from services.scheduler.core import Outcome, refusal_of, schedule
from shared.api import PlacementDecisionStatus
from shared.hub.facts import affinity_facts, facts_digest
from shared.model.decision import Choice, Proposal, Rejection
from shared.model.refs import PolicyRef
from shared.model.request import Request
from shared.pipeline.messages import Discovered, Evaluated, Scheduled

OUTCOMES = {"t": "true", "f": "false", "e": "error", "-": "not covered"}
"""What rules say, for people."""

AFTER_FILTERS = {"LowScore": "MinimumScore", "OtherTier": "Tiers"}
"""What else excludes a target that every filter let pass, by reason."""
RULE_SECONDS = 2.0
RULE_MEMORY = 512 << 20


@dataclass(frozen=True)
class OnTrial:
    """A rule that decides nothing, with what it says of the targets that no rule rejected, by id.

    `enforcement` is that of its policy, DryRun or Warn, or says by which exception it does not count.
    """

    policy: str
    rule: str
    effect: str
    enforcement: str
    outcomes: Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    """The outcome for a placement, and by stage whom the stages before the scheduler rejected."""

    outcome: Outcome
    earlier: Mapping[str, tuple[Rejection, ...]]
    trials: tuple[OnTrial, ...] = ()
    facts: tuple[str, ...] = ()  # on targets, that decided
    warnings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # why policies warn of a selected target

    @property
    def selected(self) -> tuple[Choice, ...]:
        """The targets that are proposed; none where it is refused."""
        proposal = self.outcome.proposal
        return () if proposal.refusal is not None else proposal.selected

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


def _unruled(discovered: Discovered) -> Evaluated:
    """What is left where no rule has a say."""
    return Evaluated(
        request=discovered.request, targets=discovered.targets, rejections=discovered.rejections, inventory_revision=0
    )


class Planner:
    """Decides placements on a plane, one after the other, in one process. Close it with `async with`."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self._stack = AsyncExitStack()
        self._engine: Any = None
        self._inventory: Any = None
        self._screened: tuple[object, Screened] | None = None
        in_order = sorted(plane.targets.items())  # as they are to be screened, which is then faster
        self._candidates = [Candidate(name, target, frozenset()) for name, target in in_order]

    async def __aenter__(self) -> "Planner":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def decide(self, request: Request, now: float, without: Collection[str] = ()) -> Answer:
        """The scheduler's proposal for a request, and who had fallen out before it was asked; `without` targets that
        are known not to be for it.

        Raises CommandError where rules cannot be evaluated at present.
        """
        return await self.go_on(self._discovered(request, without), now)

    async def go_on(self, discovered: Discovered, now: float) -> Answer:
        """The scheduler's proposal for what discovery found. Raises CommandError, as `decide` does."""
        if not self.has_rules(discovered.request):
            return self._scheduled(discovered, _unruled(discovered), now)
        return self._scheduled(discovered, await self._evaluate(discovered, now), now)

    def has_rules(self, request: Request) -> bool:
        """Whether there are rules, of the plane or of the request, that may have a say."""
        return bool(self.plane.policies or request.spec.policies)

    def decide_without_rules(self, request: Request, now: float, without: Collection[str] = ()) -> Answer:
        """As `decide`, for a request that no rule has a say on; it needs no event loop."""
        discovered = self._discovered(request, without)
        return self._scheduled(discovered, _unruled(discovered), now)

    def _scheduled(self, discovered: Discovered, evaluated: Evaluated, now: float) -> Answer:
        """The scheduler's proposal, beside what discovery and rules say."""
        request = evaluated.request
        by_policy = evaluated.rejections[len(discovered.rejections) :]
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
        selected = {each.target for each in outcome.proposal.selected}
        warnings: dict[str, tuple[str, ...]] = {}
        for each in evaluated.warnings:
            for target in selected.intersection(each.targets):
                warnings[target] = (*warnings.get(target, ()), each.message)
        earlier = {"Discovery": discovered.rejections, "Policy": by_policy}
        facts = tuple(sorted({*evaluated.facts, *affinity_facts(request.spec.affinity)}))
        return Answer(outcome, earlier, self._trials(evaluated), facts, warnings)

    def recorded(self, request: Request, answer: Answer, now: float) -> PlacementDecisionStatus:
        """The answer to a request, as decision writes it down."""
        from services.decision.core import record  # what only decides does not wait for it

        def noted(choice: Choice) -> Choice:
            return replace(choice, facts=facts_digest(self.plane.targets[choice.target], answer.facts))

        proposal = answer.outcome.proposal
        proposal = replace(
            proposal,
            selected=tuple(map(noted, proposal.selected)),
            alternates=tuple(map(noted, proposal.alternates)),
        )
        scheduled = Scheduled(
            request=request,
            proposal=proposal,
            rejections=(*(one for stage in answer.earlier.values() for one in stage), *answer.outcome.rejections),
            inventory_revision=0,
            facts=answer.facts,
        )
        return record(scheduled, proposal.selected, proposal.refusal, None, now)

    def _discovered(self, request: Request, without: Collection[str]) -> Discovered:
        trusted = self.plane.trusted
        providers = None if trusted is None else (*trusted, *providers_of(request, self.plane.policies))
        screened = self._screen(request, providers, frozenset(without))
        return Discovered(
            request=request,
            targets=screened.ids,
            rejections=screened.rejections,
            inventory_revision=0,
        )

    def _screen(self, request: Request, providers: tuple[str, ...] | None, without: frozenset[str]) -> Screened:
        """Who is offered to the placement: as for the one before, where that asked the same for the same workspace."""
        asked = (request.spec.targets.workspaces, request.placement.workspace, providers, without)
        if self._screened is None or self._screened[0] != asked:
            candidates = (each for each in self._candidates if each.id not in without)
            self._screened = (asked, screen(request, candidates, Workspaces({}), providers))
        return self._screened[1]

    def _trials(self, evaluated: Evaluated) -> tuple[OnTrial, ...]:
        if not evaluated.rules:
            return ()
        enforcements = {PolicyRef.of(each).id: each.spec.enforcement for each in self.plane.policies}
        return tuple(
            OnTrial(
                policy=each.policy,
                rule=each.rule,
                effect=each.effect,
                enforcement=f"exempt by {each.exemption}" if each.exemption else enforcements.get(each.policy, ""),
                outcomes={
                    target: OUTCOMES[said] for target, said in zip(evaluated.targets, each.outcomes, strict=True)
                },
            )
            for each in evaluated.rules
            if not each.enforced
        )

    async def _evaluate(self, discovered: Discovered, now: float) -> Evaluated:
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
