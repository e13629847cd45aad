"""Words of the model that commands take. Nothing is imported here that a help text would have to wait for."""

from typing import Literal, get_args

Verb = Literal["place", "withdraw", "decide"]
"""What can be asked for on the bus."""
VERBS: tuple[Verb, ...] = get_args(Verb)

RolloutState = Literal["Complete", "Progressing", "AwaitsApproval", "Paused", "Failed"]
"""How far a rollout is."""

EVENT_WORDS = (
    "Requested", "Decided", "Refused", "Moved", "TargetLost", "Preempted", "Bound", "Failed", "Ready", "Degraded",
    "Suspended", "Removed", "Accepted", "Rejected",
)  # fmt: skip
"""The types of events that tenants get, in a word each."""
