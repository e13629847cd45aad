"""Reading what was decided for a Placement from the hub: its PlacementDecision, in however many slices."""

from typing import TYPE_CHECKING

from shared.api import PlacementDecision
from shared.hub.names import DECISION_KEY_LABEL, label_value
from shared.hub.resources import DECISIONS
from shared.hub.slices import is_first, joined
from shared.kube.errors import ApiError, KubeError

if TYPE_CHECKING:
    from shared.kube.client import Client


class IncompleteDecision(KubeError):
    """Slices of a decision were taken away; it is decided anew before long. `first` is what its first slice says."""

    def __init__(self, first: PlacementDecision) -> None:
        metadata = first.metadata
        super().__init__(f"slices of the PlacementDecision {metadata.namespace}/{metadata.name} are missing")
        self.first = first


async def read_decision(client: "Client", name: str, namespace: str) -> PlacementDecision | None:
    """The decision for the Placement of this name, None where there is none. Raises IncompleteDecision, and KubeError.

    One request; a second where it has more than one slice, which reads all of them at one moment.
    """
    try:
        found = await client.get(DECISIONS, name, namespace, type=PlacementDecision)
    except ApiError as error:
        if error.absent(name):
            return None
        raise
    if not is_first(found.metadata):
        return None
    if found.status.slices == 1:
        return found
    selector = f"{DECISION_KEY_LABEL}={label_value(name)}"
    page = await client.list(DECISIONS, namespace, label_selector=selector, type=PlacementDecision)
    for each in joined(page.items):
        if each.decision.metadata.name == name:
            if not each.whole:
                raise IncompleteDecision(each.decision)
            return each.decision
    return None
