"""When a placement that could not be decided is tried again."""

from shared.aio.backoff import backoff
from shared.model.refs import Head, PlacementRef
from shared.model.request import Waiting

BEHIND = 1.0
"""Seconds that other workers may be behind: what changed so shortly before a round was asked for may have been too late
for them to see. So it is asked for once more; else it might wait for minutes beside room that is free."""


def due(waiting: Waiting, world_changed_at: float, now: float) -> bool:
    """True if a placement that no target fitted is tried again: its time has come, or something changed that may help.

    After a change it waits for as long as it was tried in vain, from one second up to half a minute.
    """
    if now >= waiting.next_try:
        return True
    return world_changed_at > waiting.tried_at - BEHIND and now >= waiting.tried_at + patience(waiting)


def patience(waiting: Waiting) -> float:
    """Seconds that it waits before a change of the world may help."""
    return backoff(waiting.tries, first=1.0, most=30.0)


def wait(
    ref: PlacementRef,
    head: Head,
    previous: Waiting | None,
    asked_at: float,
    now: float,
    *,
    contended: bool,
    first: float,
    most: float,
) -> Waiting:
    """The waiting of a placement that was refused now: longer every time, from `first` up to `most` seconds.

    Who only lost a race for capacity comes again within moments. The round was asked for at `asked_at`: what changed
    since then it may have been too early to see.
    """
    again = previous is not None and previous.head.uid == head.uid
    tries = previous.tries + 1 if previous is not None and again else 1
    since = previous.since if previous is not None and again else now
    delay = backoff(tries, first=0.2, most=5.0) if contended else backoff(tries, first=first, most=most)
    return Waiting(placement=ref, head=head, since=since, tries=tries, tried_at=asked_at, next_try=now + delay)
