"""A circuit breaker per target: one that does not answer is left alone for a while, so that it delays nobody else."""

from collections.abc import Callable
from dataclasses import dataclass

from shared.aio.backoff import backoff


@dataclass
class _Circuit:
    failures: int = 0
    open_until: float = 0.0


class Breakers:
    """After `threshold` failures in a row a target is not asked for `first`·2ⁿ seconds, at most `most`.

    When that time is over, one request is let through. All others go on waiting until its result is known. One that is
    known to be lost is left alone from the first, for as long as any.
    """

    def __init__(self, clock: Callable[[], float], *, threshold: int, first: float, most: float) -> None:
        self._clock = clock
        self._threshold = threshold
        self._first = first
        self._most = most
        self._circuits: dict[str, _Circuit] = {}

    def wait(self, target: str, *, lost: bool = False) -> float:
        """Seconds until the target may be asked again; 0 means now, and that the caller reports how it went."""
        circuit = self._circuits.get(target)
        if lost and (circuit is None or circuit.failures < self._threshold):
            circuit = self._circuits[target] = _Circuit(self._threshold, self._clock() + self._most)
        if circuit is None or circuit.failures < self._threshold:
            return 0.0
        left = circuit.open_until - self._clock()
        if left > 0:
            return left
        circuit.open_until = self._clock() + self._first  # for all others, while the caller tries
        return 0.0

    def succeeded(self, target: str) -> None:
        """The target answered, whatever it said."""
        self._circuits.pop(target, None)

    def failed(self, target: str) -> None:
        """The target did not answer, or answered with a server error."""
        circuit = self._circuits.setdefault(target, _Circuit())
        circuit.failures += 1
        pause = backoff(circuit.failures - self._threshold + 1, first=self._first, most=self._most)
        circuit.open_until = self._clock() + pause
