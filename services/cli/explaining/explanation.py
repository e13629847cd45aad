"""From what is on record of a decision to its explanation. Pure: nothing is decided again."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

from services.cli.explaining import remedies
from shared.api import (
    AppliedOverride,
    ClusterRequest,
    HistoryEntry,
    Placement,
    PlacementDecisionStatus,
    Rejection,
    RejectionMessage,
    ScoredTarget,
)
from shared.api import get_condition as condition_of
from shared.hub.requester import requester_of
from shared.model.reasons import RefusalCode, RejectionCode
from shared.model.refs import TargetRef

_WELL_WHILE_FALSE: Final = frozenset({"Held", "Overridden", "Parked", "PolicyWarning", "Preempted", "Removing"})
"""Conditions of a Placement that say what is out of the ordinary."""

ExplainedOutcome = Literal["Placed", "Refused", "Idle", "Undecided"]

_MEANING_OF_REJECTIONS: Final[Mapping[str, str]] = {code: code.description for code in RejectionCode}
_MEANING_OF_REFUSALS: Final[Mapping[str, str]] = {code: code.description for code in RefusalCode}


class _Explained(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    pass


class ScoreShare(_Explained, frozen=True, kw_only=True):
    """What one scorer says of a target (0 to 100), with which weight, and how many points of the total that makes."""

    scorer: str
    raw: float
    weight: float
    points: float


class ExplainedTarget(_Explained, frozen=True, kw_only=True):
    """A target that was chosen, or could have been. `passed_over`: by which rule, where one that scores less was."""

    target: str
    score: float
    replicas: int | None
    reason: str
    passed_over: str
    health: str
    shares: tuple[ScoreShare, ...]
    rules: dict[str, str]


class ExplainedRejection(_Explained, frozen=True, kw_only=True):
    """Targets that fell out for one reason: how many, some of their names, what is said of them, what would help.

    `apply` are objects, or the part of the Placement, that would help, where it is a right or a toleration.
    """

    reason: str
    meaning: str
    count: int
    targets: tuple[str, ...]
    messages: tuple[RejectionMessage, ...]
    helps: str
    apply: tuple[dict[str, Any], ...] = ()


class ExplainedRequest(_Explained, frozen=True, kw_only=True):
    """What is asked for by a ClusterRequest, and what whoever provides clusters says of it.

    `targets` is 0 where only the decision is at hand, which says since when it is asked for and no more.
    """

    since: str
    targets: int = 0
    replicas: int | None = None
    resources: dict[str, str] = {}
    conditions: tuple[str, ...] = ()


class Explanation(_Explained, frozen=True, kw_only=True):
    """Why a placement is where it is, and why not elsewhere.

    `outdated` is true where a newer version of the Placement is not decided yet. `refusal` is why the last attempt
    decided nothing; what was chosen before stays. `overrides` are operators'. `request` is what is asked for where
    nothing fits. `conditions` says what keeps it from being Ready.
    """

    workspace: str
    namespace: str
    name: str
    outcome: ExplainedOutcome
    summary: str
    refusal: str
    meaning: str
    helps: str
    strategy: str
    considered: int
    attempt: int
    generation: int
    outdated: bool
    decided_at: str
    trace: str
    selected: tuple[ExplainedTarget, ...] = ()
    alternates: tuple[ExplainedTarget, ...] = ()
    rejected: tuple[ExplainedRejection, ...] = ()
    overrides: tuple[AppliedOverride, ...] = ()
    request: ExplainedRequest | None = None
    conditions: tuple[str, ...] = ()
    history: tuple[HistoryEntry, ...] = ()

    @property
    def passed_over(self) -> tuple[ExplainedTarget, ...]:
        """The better scores that were not taken."""
        return tuple(each for each in self.alternates if each.passed_over)


def explain(
    workspace: str,
    placement: Placement,
    decision: PlacementDecisionStatus | None,
    request: ClusterRequest | None = None,
) -> Explanation:
    """The explanation of a placement whose decision is on record, or is not yet; with its ClusterRequest, if any."""
    metadata, status = placement.metadata, placement.status
    found = decision or PlacementDecisionStatus()
    requester = requester_of(placement)
    username = requester.username if requester is not None else ""
    health = {TargetRef.of(each).id: each.health for each in status.targets}
    in_tree = bool(workspace)
    return Explanation(
        workspace=workspace,
        namespace=metadata.namespace or "default",
        name=metadata.name,
        outcome=_outcome(placement, decision),
        summary=found.rationale if decision is not None else _undecided(placement),
        refusal=found.refusal,
        meaning=_MEANING_OF_REFUSALS.get(found.refusal, ""),
        helps=remedies.against_refusal(found.refusal),
        strategy=found.strategy,
        considered=found.considered,
        attempt=found.attempt,
        generation=found.observed_generation,
        outdated=decision is not None and found.observed_generation < metadata.generation,
        decided_at=found.decided_at or "",
        trace=status.trace_id,
        selected=tuple(_target(each, health) for each in found.selected),
        alternates=tuple(_target(each, health) for each in found.alternates),
        rejected=tuple(_rejection(reason, each, username, in_tree) for reason, each in _most_first(found.rejected)),
        overrides=found.overrides,
        request=_request(found.requested_since, request),
        conditions=tuple(_troubles(placement)),
        history=found.history,
    )


def only(explanation: Explanation, target: str) -> Explanation:
    """The same for one target, by its name or as workspace/name; reasons stay whose targets are not all named."""

    def is_it(id: str) -> bool:
        return target in (id, id.removeprefix("/"), TargetRef.parse(id).name)

    def concerns(each: ExplainedRejection) -> bool:
        return any(map(is_it, each.targets)) or (not known and each.count > len(each.targets))

    known = any(is_it(each.target) for each in (*explanation.selected, *explanation.alternates)) or any(
        is_it(name) for each in explanation.rejected for name in each.targets
    )
    return msgspec.structs.replace(
        explanation,
        selected=tuple(each for each in explanation.selected if is_it(each.target)),
        alternates=tuple(each for each in explanation.alternates if is_it(each.target)),
        rejected=tuple(filter(concerns, explanation.rejected)),
    )


def _outcome(placement: Placement, decision: PlacementDecisionStatus | None) -> ExplainedOutcome:
    if decision is None:
        return "Undecided"
    if decision.refusal:
        return "Refused"
    return "Idle" if placement.spec.targets.none and not decision.selected else "Placed"


def _undecided(placement: Placement) -> str:
    said = condition_of(placement.status.conditions, "Scheduled")
    if placement.spec.suspend:
        return "it is suspended (spec.suspend), and nothing is decided"
    return said.message if said is not None and said.message else "nothing is decided yet: no decision is on record"


def _target(scored: ScoredTarget, health: Mapping[str, str]) -> ExplainedTarget:
    target = TargetRef.of(scored.target).id
    return ExplainedTarget(
        target=target,
        score=scored.score,
        replicas=scored.replicas,
        reason=scored.reason,
        passed_over=scored.passed_over,
        health=health.get(target, ""),
        shares=tuple(
            ScoreShare(scorer=name, raw=part.raw, weight=part.weight, points=part.weighted)
            for name, part in sorted(scored.breakdown.items(), key=lambda pair: (-pair[1].weighted, pair[0]))
        ),
        rules=scored.policy,
    )


def _most_first(rejected: dict[str, Rejection]) -> list[tuple[str, Rejection]]:
    return sorted(rejected.items(), key=lambda pair: (-pair[1].count, pair[0]))


def _rejection(reason: str, found: Rejection, requester: str, in_tree: bool) -> ExplainedRejection:
    return ExplainedRejection(
        reason=reason,
        meaning=_MEANING_OF_REJECTIONS.get(reason, ""),
        count=found.count,
        targets=found.samples,
        messages=found.messages,
        helps=remedies.against(reason),
        apply=remedies.manifest(reason, found.messages, requester, in_tree=in_tree),
    )


def _request(since: str | None, request: ClusterRequest | None) -> ExplainedRequest | None:
    if since is None:
        return None
    if request is None:
        return ExplainedRequest(since=since)
    missing = request.spec.missing
    return ExplainedRequest(
        since=since,
        targets=missing.targets,
        replicas=missing.replicas,
        resources={name: str(amount) for name, amount in missing.resources.items()},
        conditions=tuple(
            f"{each.type}={each.status} {each.reason}: {each.message}".rstrip(": ")
            for each in request.status.conditions
        ),
    )


def _troubles(placement: Placement) -> Iterator[str]:
    """Conditions that are not as they should be; some are well while they are not true."""
    for each in placement.status.conditions:
        if each.status != ("False" if each.type in _WELL_WHILE_FALSE else "True"):
            yield f"{each.type}={each.status} {each.reason}: {each.message}".rstrip(": ")
