"""APIs: every kind of the workload must be served in its version."""

from collections.abc import Iterator

from services.scheduler.candidates import Candidates
from services.scheduler.filters.exclusion import Exclusion


def missing_api(candidates: Candidates) -> Iterator[Exclusion]:
    """Targets that lack a kind which the workload has objects of; of one that is waited for nothing is sure."""
    request = candidates.request
    needed = request.needed
    for api_version, kind in dict.fromkeys((each.api_version, each.kind) for each in request.workload):
        if (api_version, kind) not in needed:
            continue
        served = candidates.values("serves", (api_version, kind))
        yield Exclusion("MissingAPI", f"lacks {api_version} {kind}", ~(served | candidates.waited_for))
