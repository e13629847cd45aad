"""How long requests take to be answered: where much waits in the pipeline, longer than usual."""

LONGEST = 300.0
"""Seconds: what was not answered for longer is not believed to be on its way any more."""


class AnswerTimes:
    """What the last answer took. Where none came for a `while_` (seconds), nobody is at work, and it says nothing."""

    def __init__(self, while_: float) -> None:
        self._while = while_
        self._last = float("-inf")
        self._took = 0.0

    def note(self, requested_at: float, now: float) -> None:
        """A request that was made at a time is answered now."""
        self._last, self._took = now, min(LONGEST, max(0.0, now - requested_at))

    def take(self, now: float) -> float:
        """Seconds that answers take; 0 where that is not known."""
        return self._took if now - self._last <= self._while else 0.0
