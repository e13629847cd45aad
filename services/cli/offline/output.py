"""Decisions as text: a line of JSON, or a table for people."""

from typing import Any

import msgspec

from services.cli.offline.planner import Answer
from services.cli.support.output import aligned
from shared.model.decision import Choice
from shared.model.request import Request


def _shown(target: str) -> str:
    """A target id for people: without workspaces, its bare name."""
    return target.removeprefix("/")


def as_json(request: Request, answer: Answer) -> str:
    """One placement's decision in a line of JSON, with every number behind it."""

    proposal = answer.outcome.proposal
    refusal = proposal.refusal
    decision = {
        "placement": str(request.placement).removeprefix("/"),
        "strategy": proposal.strategy,
        "selected": [_choice(each) for each in proposal.selected],
        "alternates": [_choice(each) for each in proposal.alternates],
        "scores": [_choice(each) for each in answer.outcome.scores()],
        "rejected": {_shown(target): reasons for target, reasons in answer.rejected().items()},
        "refusal": None if refusal is None else {"code": refusal.code, "message": refusal.message},
    }
    return msgspec.json.encode(decision).decode()


def _choice(choice: Choice) -> dict[str, Any]:
    return {
        "target": _shown(choice.target),
        "replicas": choice.replicas,
        "score": choice.score,
        "breakdown": choice.breakdown,
    }


def as_table(request: Request, answer: Answer) -> str:
    """One placement's decision for people: what is taken, what comes next, and how many fell out why."""
    proposal = answer.outcome.proposal
    lines = [f"{str(request.placement).removeprefix('/')}  {proposal.strategy}"]
    if proposal.refusal is not None:
        lines.append(f"  refused: {proposal.refusal.code}: {proposal.refusal.message}")
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
        some = ", ".join(targets[:3]) + (", ..." if len(targets) > 3 else "")
        lines.append(f"  {len(targets)} {message}: {some}")
    return "\n".join(lines)
