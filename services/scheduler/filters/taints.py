"""Taints: as core/v1 defines taints and tolerations."""

from collections.abc import Iterator

import numpy as np

from services.scheduler.filters.verdict import Verdict
from services.scheduler.round import Round
from shared.api import Taint, Toleration, tolerates
from shared.columns import Bools


def taints(round: Round) -> Iterator[Verdict]:
    """Targets with a NoSchedule or NoExecute taint that nothing tolerates; the first such taint is named.

    As with Kubernetes' nodes, NoSchedule does not drive away what runs there already; NoExecute does, at once or after
    `tolerationSeconds`: when these are over, the controller says that the target is to be left.
    """
    column = round.snapshot.codes("taints")
    tolerations = round.spec.targets.tolerations
    asked: list[tuple[tuple[str, ...], Bools]] = [(("NoSchedule", "NoExecute"), ~round.previous)]
    if round.request.previous:
        asked.append((("NoExecute",), round.previous))
    for repel, of in asked:
        messages = [_untolerated(each, tolerations, repel) for each in column.distinct]
        for message in dict.fromkeys(filter(None, messages)):
            names_it = np.array([each == message for each in messages])
            yield Verdict("UntoleratedTaint", message, names_it[column.values[round.index]] & of)
    if round.request.leaving:
        yield Verdict("UntoleratedTaint", "tolerated for long enough", round.leaving & round.values("ready"))


def _untolerated(found: tuple[Taint, ...], tolerations: tuple[Toleration, ...], repel: tuple[str, ...]) -> str:
    for taint in found:
        if taint.effect in repel and not any(tolerates(toleration, taint) for toleration in tolerations):
            return f"untolerated taint {taint.key}={taint.value}" if taint.value else f"untolerated taint {taint.key}"
    return ""
