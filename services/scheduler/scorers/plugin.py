"""Plugin:<name>: a scorer in another process, which was asked over the bus."""

from services.scheduler.candidates import Candidates
from services.scheduler.scorers.scorer import Args, Scorer
from shared.columns import Floats

PREFIX = "Plugin:"


def plugin(name: str) -> Scorer:
    """The scorer that plugin `name` is; it abstains where it gave no answer."""

    def score(candidates: Candidates, args: Args) -> Floats | None:  # noqa: ARG001 - sent along when it was asked
        return candidates.plugin_answers.get(("scorer", name))

    return score
