"""What is said of placements that leave targets: by request, or not since they may still run in one that is lost."""

from collections.abc import Iterable
from typing import Final

from shared.model.refs import TargetRef

MAY_RUN: Final = "MayRunThere"
"""Why a placement stays on a lost target, or waits for one, in one word."""


def may_run_there(target: str) -> str:
    """Why it is not started elsewhere, and what can be done about that, in two sentences."""
    name = TargetRef.parse(target).name
    return (
        "it may still run there, and stability.moves is BreakBeforeMake. It goes on when the cluster answers again, or "
        f"is gone for good and its owner says so (moorage cluster leave {name} --abandon); whoever knows that it does "
        "not run there sets stability.moves to MakeBeforeBreak."
    )


def eviction(target: str, token: str) -> str:
    """What asks a placement to leave a target, by its id; each with another `token` is another request."""
    return f"{target} {token}"


def evicted_from(request: str, selected: Iterable[str]) -> str:
    """Which of the targets, by id, a request means: by its id, or by its name alone; empty where none."""
    named = request.partition(" ")[0]
    return next((each for each in sorted(selected) if named in (each, TargetRef.parse(each).name)), "")
