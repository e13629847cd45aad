"""Neighbours: other placements of the namespace that this one must be near to, or stay away from."""

from collections.abc import Iterator

import numpy as np

from services.scheduler.filters.verdict import Verdict
from services.scheduler.round import Round
from shared.api import PlacementAffinityTerm, matches
from shared.columns import Bools
from shared.model.refs import PlacementRef


def neighbours(round: Round) -> Iterator[Verdict]:
    """Targets outside every domain that a wanted neighbour is in, and targets in the domain of an unwanted one.

    As with pods: while no wanted neighbour is placed anywhere, a placement that matches its own term may go first.
    The terms of those placed before are not asked: of two that refuse each other, whoever comes second gives way.
    """
    for term in round.spec.affinity.placement_affinity:
        found = _matching(round, term)
        if found:
            yield Verdict("NoNeighbour", "far from the wanted placements", ~_in_domain_of(round, term, found))
        elif not matches(term.selector, round.request.labels):
            nowhere = np.ones(len(round), np.bool_)
            yield Verdict("NoNeighbour", "without a placement to be near", nowhere)
    for term in round.spec.affinity.placement_anti_affinity:
        found = _matching(round, term)
        if found:
            yield Verdict("UnwantedNeighbour", "near an unwanted placement", _in_domain_of(round, term, found))


def _matching(round: Round, term: PlacementAffinityTerm) -> list[PlacementRef]:
    own = round.request.placement
    return [
        placement
        for placement, labels in round.snapshot.neighbours(own.workspace, own.namespace)
        if placement != own and matches(term.selector, labels)
    ]


def _in_domain_of(round: Round, term: PlacementAffinityTerm, placements: list[PlacementRef]) -> Bools:
    """Candidates whose label has a value that a target of these placements has."""
    column = round.snapshot.codes("label", term.topology_key)
    occupied = np.zeros(max(len(column.distinct), 1), np.bool_)
    for placement in placements:
        for target in round.snapshot.taken[placement]:
            row = round.snapshot.rows.get(target)
            if row is not None:
                occupied[column.values[row]] = True
    occupied &= ~column.among((None,))
    return np.asarray(occupied[column.values[round.index]], np.bool_)
