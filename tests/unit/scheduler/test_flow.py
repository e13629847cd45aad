"""Choices under two spread constraints are found wherever there is one."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.flow import Edge, Levels, choose, circulation
from shared.api import ZONE_LABEL
from shared.model.decision import Proposal
from tests.unit.scheduler.builders import REGION, decide, request, target

Cells = list[tuple[int, int]]


def spread(
    cells: Cells, count: int, skews: tuple[int, int] = (1, 1), *, most: int = 0, domains: tuple[int, int] = (1, 1)
) -> Proposal:
    """`count` targets of a fleet with one target per cell (region, zone), in which earlier ones score better."""
    fleet = [
        target(f"t{place:02}", region=f"r{row}", labels={ZONE_LABEL: f"z{column}"}, allocated={"cpu": place / 10})
        for place, (row, column) in enumerate(cells)
    ]
    keys = zip((REGION, ZONE_LABEL), skews, domains, strict=True)
    constraints = [{"topologyKey": key, "maxSkew": skew, "minDomains": least} for key, skew, least in keys]
    bounds = {"min": count, "max": max(count, most)}
    return decide(request({"targets": {"count": bounds}, "spread": constraints}), fleet).proposal


def keeps_the_skew(cells: Cells, chosen: Cells, skews: tuple[int, int]) -> bool:
    for key, skew in enumerate(skews):
        held = Counter(dict.fromkeys((cell[key] for cell in cells), 0))
        held.update(cell[key] for cell in chosen)
        if max(held.values()) - min(held.values()) > skew:
            return False
    return True


def chosen_of(cells: Cells, proposal: Proposal) -> Cells:
    return [cells[int(choice.target.removeprefix("root/t"))] for choice in proposal.selected]


def test_what_one_by_one_misses_is_found() -> None:
    # The best is r0/z0; then only r1/z1 may follow, which is not there: r0/z1 with r1/z0 is the one solution.
    cells = [(0, 0), (0, 1), (1, 0)]
    assert chosen_of(cells, spread(cells, 2)) == [(0, 1), (1, 0)]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=9),
    st.integers(1, 6),
    st.integers(1, 6),
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
def test_a_choice_under_two_keys_is_refused_only_where_there_is_none(cells, count, most, skews, domains) -> None:
    def fine(chosen: Cells) -> bool:
        used = tuple(len({cell[key] for cell in chosen}) >= domains[key] for key in (0, 1))
        return all(used) and keeps_the_skew(cells, chosen, skews)

    proposal = spread(cells, count, skews, most=most, domains=domains)
    sizes = range(count, max(count, most) + 1)
    exists = any(fine(list(chosen)) for size in sizes for chosen in combinations(cells, size))
    assert (proposal.refusal is None) is exists
    if exists:
        chosen = chosen_of(cells, proposal)
        assert len(chosen) in sizes
        assert fine(chosen)


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ([], []),
        ([Edge(0, 1, 2, 5), Edge(1, 0, 3, 4)], [3, 3]),
        ([Edge(0, 1, 2, 5), Edge(1, 0, 0, 1)], None),
        ([Edge(0, 1, 4, 4), Edge(1, 2, 0, 3), Edge(1, 2, 0, 3), Edge(2, 0, 0, 9)], [4, 3, 1, 4]),
    ],
)
def test_a_circulation_keeps_all_bounds_or_is_none(edges, expected) -> None:
    assert circulation(3, edges) == expected


def test_too_much_work_is_not_begun() -> None:
    of = np.arange(1000)
    assert choose(500, 500, Levels(of, 1000, 1, 1), Levels(of, 1000, 1, 1)) is None


def test_with_three_keys_a_choice_may_be_missed_as_documented() -> None:
    fleet = [
        target(f"t{place}", labels=dict(zip("klm", cell, strict=True)), allocated={"cpu": float(place)})
        for place, cell in enumerate(("ax1", "ay2", "bx1"))
    ]
    constraints = [{"topologyKey": key} for key in "klm"]
    refusal = decide(request({"targets": {"count": {"min": 2}}, "spread": constraints}), fleet).proposal.refusal
    assert refusal is not None
    assert refusal.message == "2 targets are wanted; 3 fit, and the spread constraints allow 1 of them"
