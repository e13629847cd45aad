"""Weight: where replicas are divided by weights, a target of weight 0 gets none."""

from collections.abc import Iterator

from services.scheduler.division import weights_of
from services.scheduler.filters.verdict import Verdict
from services.scheduler.round import Round


def weight(round: Round) -> Iterator[Verdict]:
    """Targets whose replica weight is 0."""
    if round.spec.replicas.division == "Weighted":
        yield Verdict("NoReplicaWeight", "with replica weight 0", weights_of(round) == 0)
