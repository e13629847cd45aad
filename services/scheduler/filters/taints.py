"""Taints: as core/v1 defines taints and tolerations."""

from collections.abc import Iterator

import numpy as np

from services.scheduler.candidates import Candidates
from services.scheduler.filters.exclusion import Exclusion
from shared.api import Taint, Toleration, tolerates
from shared.columns import Bools


def taints(candidates: Candidates) -> Iterator[Exclusion]:
    """Targets with a NoSchedule or NoExecute taint that nothing tolerates; the first such taint is named.

    As with Kubernetes' nodes, NoSchedule does not drive away what runs there already; NoExecute does, at once or after
    `tolerationSeconds`: when these are over, the controller says that the target is to be left. Of a placement with a
    budget, the controller says so of one target after the other.
    """
    column = candidates.snapshot.codes("taints")
    tolerations = candidates.spec.targets.tolerations
    asked: list[tuple[tuple[str, ...], Bools]] = [(("NoSchedule", "NoExecute"), ~candidates.previous)]
    if candidates.request.previous:
        budgeted = candidates.spec.stability.disruption_budget is not None
        asked.append((("NoExecute",), candidates.previous & candidates.leaving if budgeted else candidates.previous))
    for repel, of in asked:
        messages = [_untolerated(each, tolerations, repel) for each in column.distinct]
        for message in dict.fromkeys(filter(None, messages)):
            names_it = np.array([each == message for each in messages])
            yield Exclusion("UntoleratedTaint", message, names_it[column.values[candidates.index]] & of)
    if candidates.request.leaving:
        yield Exclusion(
            "UntoleratedTaint", "tolerated for long enough", candidates.leaving & candidates.values("ready")
        )


def _untolerated(found: tuple[Taint, ...], tolerations: tuple[Toleration, ...], repel: tuple[str, ...]) -> str:
    for taint in found:
        if taint.effect in repel and not any(tolerates(toleration, taint) for toleration in tolerations):
            return f"untolerated taint {taint.key}={taint.value}" if taint.value else f"untolerated taint {taint.key}"
    return ""
