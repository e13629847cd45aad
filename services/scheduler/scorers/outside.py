"""Bus:<name>: a scorer that lives in another process and was asked over the bus."""

from services.scheduler.round import Round
from services.scheduler.scorers.scorer import Args, Scorer
from shared.columns import Floats

PREFIX = "Bus:"


def outside(name: str) -> Scorer:
    """The scorer `name` outside; it abstains where it gave no answer."""

    def score(round: Round, args: Args) -> Floats | None:  # noqa: ARG001 - sent along when it was asked
        return round.outside.get(("scorer", name))

    return score
