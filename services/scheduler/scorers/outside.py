"""Bus:<name>: a scorer that lives in another process and was asked over the bus."""

from services.scheduler.candidates import Candidates
from services.scheduler.scorers.scorer import Args, Scorer
from shared.columns import Floats

PREFIX = "Bus:"


def outside(name: str) -> Scorer:
    """The scorer `name` outside; it abstains where it gave no answer."""

    def score(candidates: Candidates, args: Args) -> Floats | None:  # noqa: ARG001 - sent along when it was asked
        return candidates.outside.get(("scorer", name))

    return score
