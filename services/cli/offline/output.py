"""Decisions as text: a line of JSON, or a table for people."""

from itertools import repeat

import msgspec

from services.cli.offline.planner import Answer, OnTrial
from services.cli.support.output import aligned
from shared.model.decision import Choice, Score
from shared.model.request import Request


def _shown(target: str) -> str:
    """A target id for people: without workspaces, its bare name."""
    return target.removeprefix("/")


def as_json(request: Request, answer: Answer) -> str:
    """One placement's decision in a line of JSON, with every number behind it."""

    proposal = answer.outcome.proposal
    refusal = proposal.refusal
    targets, scores, breakdowns = answer.outcome.scored()
    decision = {
        "placement": str(request.placement).removeprefix("/"),
        "strategy": proposal.strategy,
        "selected": [_choice(each) for each in proposal.selected],
        "alternates": [_choice(each) for each in proposal.alternates],
        "scores": list(map(_Choice, map(_shown, targets), repeat(None), scores, breakdowns)),
        "rejected": {_shown(target): reasons for target, reasons in answer.rejected().items()},
        "onTrial": [
            {
                "policy": _shown(each.policy),
                "rule": each.rule,
                "effect": each.effect,
                "enforcement": each.enforcement,
                "outcomes": {_shown(target): outcome for target, outcome in each.outcomes.items()},
            }
            for each in answer.trials
        ],
        "warnings": {_shown(target): messages for target, messages in answer.warnings.items()},
        "refusal": None if refusal is None else {"code": refusal.code, "message": refusal.message},
    }
    return msgspec.json.encode(decision).decode()


class _Choice(msgspec.Struct, gc=False):
    """A target as a line of JSON has it: there may be one for each target, of each placement."""

    target: str
    replicas: int | None
    score: float
    breakdown: dict[str, Score]


def _choice(choice: Choice) -> _Choice:
    return _Choice(_shown(choice.target), choice.replicas, choice.score, choice.breakdown)


def as_table(request: Request, answer: Answer) -> str:
    """One placement's decision for people: what is taken, what comes next, and how many fell out why."""
    proposal = answer.outcome.proposal
    lines = [f"{str(request.placement).removeprefix('/')}  {proposal.strategy}"]
    if proposal.refusal is not None:
        lines.append(f"  refused: {proposal.refusal.code}: {proposal.refusal.message}")
    elif not proposal.selected:
        lines.append("  no target is wanted")
    ranked = [("selected", each) for each in proposal.selected] + [("next", each) for each in proposal.alternates]
    if ranked:
        scorers = list(dict.fromkeys(name for _, each in ranked for name in each.breakdown))
        rows = [["", "TARGET", "REPLICAS", "SCORE", *(name.upper() for name in scorers)]]
        for role, each in ranked:
            parts = (each.breakdown.get(name) for name in scorers)
            points = ["-" if part is None else f"{part.raw:.1f}×{part.weight:g}" for part in parts]
            replicas = "-" if each.replicas is None else str(each.replicas)
            rows.append([role, _shown(each.target), replicas, f"{each.score:.2f}", *points])
        lines += [f"  {line}" for line in aligned(rows)]
    reasons: dict[str, list[str]] = {}
    for target, found in answer.rejected().items():
        reasons.setdefault(found[0]["message"], []).append(_shown(target))
    for message, targets in sorted(reasons.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        lines.append(f"  {len(targets)} {message}: {_some(targets)}")
    lines += [f"  warning: {_shown(target)}: {'; '.join(said)}" for target, said in sorted(answer.warnings.items())]
    return "\n".join([*lines, *map(_on_trial, answer.trials)])


def _on_trial(trial: OnTrial) -> str:
    """One rule of a policy that does not act, with the targets of each outcome."""
    by_outcome: dict[str, list[str]] = {}
    for target, outcome in trial.outcomes.items():
        by_outcome.setdefault(outcome, []).append(_shown(target))
    said = "; ".join(f"{outcome} on {_some(targets)}" for outcome, targets in sorted(by_outcome.items(), reverse=True))
    name = f"{_shown(trial.policy)}/{trial.rule}"
    return f"  {trial.enforcement} {name} ({trial.effect}): {said or 'no target is left to it'}"


def _some(targets: list[str]) -> str:
    return ", ".join(targets[:3]) + (f" and {len(targets) - 3} more" if len(targets) > 3 else "")
