"""Weight: where replicas are divided by weights, a target of weight 0 gets none."""

from collections.abc import Iterator

from services.scheduler.candidates import Candidates
from services.scheduler.division import weights_of
from services.scheduler.filters.exclusion import Exclusion


def weight(candidates: Candidates) -> Iterator[Exclusion]:
    """Targets whose replica weight is 0."""
    if candidates.spec.replicas.division == "Weighted":
        yield Exclusion("NoReplicaWeight", "with replica weight 0", weights_of(candidates) == 0)
