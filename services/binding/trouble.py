"""Trouble: reasons why a binding cannot be applied, its conditions for them, and when it is tried again."""

from typing import Literal

ConditionType = Literal["Applied", "PermissionGranted", "ConflictFree"]

REMOVING = "Removing"
"""The reason where something that is to go is still there."""


VACATING = "AwaitsRemoval"
"""The reason where something has to be gone from another target first."""


class Trouble(Exception):
    """Why it is not applied, in one sentence.

    `condition` is the condition that becomes False because of it. With `lasting` trouble somebody has to act: the
    binding becomes Failed and is tried again slowly. Other trouble is expected to pass, and the binding is tried again
    soon. `delay` is how long the server asked to wait, in seconds.
    """

    def __init__(
        self, condition: ConditionType, reason: str, message: str, *, lasting: bool, delay: float | None = None
    ) -> None:
        super().__init__(message)
        self.condition = condition
        self.reason = reason
        self.message = message
        self.lasting = lasting
        self.delay = delay


def lasting(reason: str, message: str) -> Trouble:
    """Trouble that only a change of the Placement, the workload or the target cures."""
    return Trouble("Applied", reason, message, lasting=True)


def passing(reason: str, message: str, delay: float | None = None) -> Trouble:
    """Trouble that passes."""
    return Trouble("Applied", reason, message, lasting=False, delay=delay)
