"""A copy of a worker, as it tells the others that it is there."""

from shared.model.value import Value


class Copy(Value, frozen=True, kw_only=True):
    """A process of a worker, by a name that no other has; `beat_at`: seconds since the epoch, by its own clock.
    `version`: of Moorage; empty where it is one that does not say so.
    """

    name: str
    beat_at: float
    version: str = ""
