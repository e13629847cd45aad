"""What would be decided, as a table for people. Pure."""

from collections.abc import Iterable

from services.cli.support.output import aligned
from shared.api import ScoredTarget
from shared.model.answer import DecisionAnswer
from shared.model.refs import TargetRef

Place = tuple[str, int | None]
"""A target by id, and the replicas there."""


def table(answer: DecisionAnswer) -> str:
    """What would be taken, what comes next, with what each scorer makes of it, and how many fell out why."""
    decision, ref = answer.decision, answer.placement
    lines = [f"{ref.namespace}/{ref.name}  {decision.strategy}".rstrip()]
    if answer.refusal is not None:
        lines.append(f"  refused: {answer.refusal.code}: {answer.refusal.message}")
    elif not decision.selected:
        lines.append(f"  {decision.rationale}")
    ranked = [*(("selected", each) for each in decision.selected), *(("next", each) for each in decision.alternates)]
    if ranked:
        lines += [f"  {line}" for line in aligned(list(_rows(ranked)))]
    if answer.hold is not None:
        lines.append(f"  held until {answer.hold.until}: moorage place --hold {answer.hold.id}")
    for reason, rejected in sorted(decision.rejected.items(), key=lambda pair: (-pair[1].count, pair[0])):
        some = ", ".join(rejected.samples[:3])
        lines.append(f"  {rejected.count} {reason}" + (f": {some}" if some else ""))
    return "\n".join(lines)


def _rows(ranked: Iterable[tuple[str, ScoredTarget]]) -> Iterable[list[str]]:
    ranked = list(ranked)
    scorers = list(dict.fromkeys(name for _, each in ranked for name in each.breakdown))
    yield ["", "TARGET", "REPLICAS", "SCORE", *(name.upper() for name in scorers)]
    for role, each in ranked:
        parts = (each.breakdown.get(name) for name in scorers)
        points = ["-" if part is None else f"{part.raw:.1f}×{part.weight:g}" for part in parts]
        replicas = "-" if each.replicas is None else str(each.replicas)
        yield [role, TargetRef.of(each.target).id.lstrip("/"), replicas, f"{each.score:.2f}", *points]
