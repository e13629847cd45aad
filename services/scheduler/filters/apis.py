"""APIs: every kind of the workload must be served in its version."""

from collections.abc import Iterator

from services.scheduler.filters.verdict import Verdict
from services.scheduler.round import Round


def missing_api(round: Round) -> Iterator[Verdict]:
    """Targets that lack a kind which the workload has objects of; of one that is waited for nothing is sure."""
    for api_version, kind in dict.fromkeys((each.api_version, each.kind) for each in round.request.workload):
        served = round.values("serves", (api_version, kind))
        yield Verdict("MissingAPI", f"lacks {api_version} {kind}", ~(served | round.waited_for))
