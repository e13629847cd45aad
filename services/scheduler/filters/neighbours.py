"""Neighbours: other placements of the namespace that this one must be near to, or stay away from."""

from collections.abc import Iterator

import numpy as np

from services.scheduler.candidates import Candidates
from services.scheduler.filters.exclusion import Exclusion
from shared.api import PlacementAffinityTerm, matches
from shared.columns import Bools
from shared.model.refs import PlacementRef


def neighbours(candidates: Candidates) -> Iterator[Exclusion]:
    """Targets outside every domain that a wanted neighbour is in, and targets in the domain of an unwanted one.

    As with pods: while no wanted neighbour is placed anywhere, a placement that matches its own term may go first, to
    any target that has the topology label: elsewhere nobody could ever follow.
    The terms of those placed before are not asked: of two that refuse each other, whoever comes second gives way.
    """
    for term in candidates.spec.affinity.placement_affinity:
        found = _matching(candidates, term)
        if found:
            yield Exclusion("NoNeighbour", "far from the wanted placements", ~_in_domain_of(candidates, term, found))
        elif matches(term.selector, candidates.request.labels):
            key = term.topology_key
            yield Exclusion("NoTopology", f"without label {key}", candidates.has("label", None, key))
        else:
            nowhere = np.ones(len(candidates), np.bool_)
            yield Exclusion("NoNeighbour", "without a placement to be near", nowhere)
    for term in candidates.spec.affinity.placement_anti_affinity:
        found = _matching(candidates, term)
        if found:
            yield Exclusion("UnwantedNeighbour", "near an unwanted placement", _in_domain_of(candidates, term, found))


def _matching(candidates: Candidates, term: PlacementAffinityTerm) -> list[PlacementRef]:
    own = candidates.request.placement
    return [
        placement
        for placement, labels in candidates.snapshot.taken.neighbours(own.workspace, own.namespace)
        if placement != own and matches(term.selector, labels)
    ]


def _in_domain_of(candidates: Candidates, term: PlacementAffinityTerm, placements: list[PlacementRef]) -> Bools:
    """Candidates whose label has a value that a target of these placements has."""
    column = candidates.snapshot.codes("label", term.topology_key)
    occupied = np.zeros(max(len(column.distinct), 1), np.bool_)
    for placement in placements:
        for target in candidates.snapshot.taken.targets_of(placement):
            row = candidates.snapshot.rows.get(target)
            if row is not None:
                occupied[column.values[row]] = True
    occupied &= ~column.among((None,))
    return np.asarray(occupied[column.values[candidates.index]], np.bool_)
