"""PlacementDecisions in slices: a hundred targets in each object, all of one revision.

The first slice has the Placement's own name, and holds all that is not said of single targets. It is written last and
names the revision and the number of slices; the others carry the revision in their names, and never change. So whoever
reads the first slice and then finds all others of its revision has the whole decision, and else nothing.
"""

import hashlib
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

import msgspec

from shared.api import SLICE, ClusterDecision, ObjectMeta, PlacementDecision, PlacementDecisionStatus, ScoredTarget
from shared.hub.names import DECISION_INDEX_LABEL, slice_name


class Slice(Protocol):
    """What joining needs to know of a slice."""

    @property
    def revision(self) -> str: ...

    @property
    def slices(self) -> int: ...


S = TypeVar("S", bound=Slice)


def is_first(metadata: ObjectMeta) -> bool:
    """True for the object that stands for a decision, and not only for one of its further slices."""
    return metadata.labels.get(DECISION_INDEX_LABEL, "0") == "0"


def parts(name: str, first: S, find: Callable[[str], S | None]) -> list[S]:
    """The slices of a Placement's decision that are there, in order; `find` gets one by the object's name.

    The decision is whole if there are as many as the first says.
    """
    further = (find(each) for each in further_names(name, first))
    return [first, *(each for each in further if each is not None and each.revision == first.revision)]


def further_names(name: str, first: Slice) -> list[str]:
    """The names of the objects that hold the decision beside the first."""
    return [slice_name(name, first.revision, index) for index in range(1, first.slices)]


class Joined(msgspec.Struct, frozen=True):
    """A decision put together from its slices. It is not `whole` where somebody took slices away."""

    decision: PlacementDecision
    whole: bool


def joined(decisions: Iterable[PlacementDecision]) -> list[Joined]:
    """The decisions that objects of any namespaces, read at one moment, make up."""
    known = {(each.metadata.namespace, each.metadata.name): each for each in decisions}
    found = []
    for (namespace, name), first in known.items():
        if not is_first(first.metadata):
            continue

        def of_namespace(each: str, namespace: str = namespace) -> PlacementDecisionStatus | None:
            further = known.get((namespace, each))
            return None if further is None else further.status

        there = parts(name, first.status, of_namespace)
        selected = tuple(target for each in there for target in each.selected)
        status = msgspec.structs.replace(first.status, selected=selected)
        found.append(Joined(msgspec.structs.replace(first, status=status), len(there) == first.status.slices))
    return found


def sliced(status: PlacementDecisionStatus, uid: str) -> list[PlacementDecisionStatus]:
    """A decision for the Placement with this uid as it is written: in slices, the first of them first."""
    chunks = [status.selected[at : at + SLICE] for at in range(0, len(status.selected), SLICE)] or [()]
    if len(chunks) == 1:
        return [_with(status, status.selected, revision="", slices=1)]
    content = msgspec.json.encode((uid, status.attempt, status.selected))
    revision = hashlib.sha256(content).hexdigest()[:16]
    further = PlacementDecisionStatus(observed_generation=status.observed_generation, attempt=status.attempt)
    return [
        _with(further if index else status, chunk, revision=revision, slices=1 if index else len(chunks))
        for index, chunk in enumerate(chunks)
    ]


def _with(
    status: PlacementDecisionStatus, selected: tuple[ScoredTarget, ...], *, revision: str, slices: int
) -> PlacementDecisionStatus:
    decisions = tuple(map(_in_short, selected))
    return msgspec.structs.replace(status, selected=selected, decisions=decisions, revision=revision, slices=slices)


def _in_short(chosen: ScoredTarget) -> ClusterDecision:
    return ClusterDecision(
        cluster_name=chosen.target.name,
        workspace=chosen.target.workspace,
        replicas="" if chosen.replicas is None else str(chosen.replicas),
        score=f"{chosen.score:g}",
        reason=chosen.reason,
    )
