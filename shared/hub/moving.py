"""What is said of a placement that may not run twice at once, and may still run in a target that does not answer."""

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
