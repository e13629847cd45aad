"""Why targets fell out, as one sentence for people."""

from collections import Counter
from collections.abc import Iterable

from shared.model.decision import Rejection

MOST_REASONS = 6


def sentence(total: int, rejections: Iterable[Rejection], fit: int = 0) -> str:
    """`0/120 targets: 80 lack apps/v1 Deployment, 30 not authorized, 10 insufficient cpu`.

    Reasons are counted by their words and listed by count, then by words; after the sixth, the rest is one number.
    `total` is how many targets there were before any stage, and `fit` how many of them are left.
    """
    if total == 0:
        return "no targets to choose from"
    counts: Counter[str] = Counter()
    for rejection in rejections:
        counts[rejection.message] += len(rejection.targets)
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = [f"{count} {_plural(message) if count > 1 else message}" for message, count in ranked[:MOST_REASONS]]
    rest = sum(count for _, count in ranked[MOST_REASONS:])
    if rest:
        shown.append(f"{rest} for other reasons")
    return f"{fit}/{total} targets" + (f": {', '.join(shown)}" if shown else "")


def _plural(message: str) -> str:
    """`lacks` is the one verb that rejections are worded with."""
    return f"lack {message.removeprefix('lacks ')}" if message.startswith("lacks ") else message
