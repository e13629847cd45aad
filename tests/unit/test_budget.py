"""What of the counts of several runs is no breach of a budget, and what is."""

from collections import Counter

import pytest

from tests.support.budget import differences
from tests.support.counting import KINDS

READ = "binding: get placements in the hub"
WROTE = "status: update placements/status in the hub"
PATCHED = "binding: patch placementbindings in the hub"


def found(scenario: str, name: str, stored: int, *runs: int) -> list[str]:
    counts = {kind: {} for kind in KINDS} | {"requests": {name: stored} if stored else {}}
    return differences({scenario: counts}, {scenario: [Counter({("requests", name): many}) for many in runs]})


@pytest.mark.parametrize("runs", [(3, 2, 2), (1, 2, 1), (1, 3)])
def test_runs_on_either_side_of_the_budget_keep_it(runs):
    assert not found("placed in one target", PATCHED, 2, *runs)


@pytest.mark.parametrize("runs", [(3, 3, 4), (1, 1, 0)])
def test_runs_that_all_cost_more_or_all_less_are_named(runs):
    (line,) = found("placed in one target", PATCHED, 2, *runs)
    assert line == f"placed in one target, requests, {PATCHED}: {list(runs)}, not 2"


def test_of_reads_that_several_targets_share_one_more_or_less_passes():
    assert not found("placed in four targets", READ, 2, 3, 3)
    assert not found("placed in four targets", READ, 2, 1, 1)
    assert found("placed in four targets", READ, 2, 4, 4)
    assert found("placed in one target", READ, 2, 3, 3)


def test_a_slow_removal_may_show_itself_twice_and_nothing_else_may():
    assert not found("removed from four targets", WROTE, 0, 2, 2)
    assert found("removed from four targets", WROTE, 0, 3, 3)
    assert found("placed in four targets", WROTE, 0, 2, 2)
    assert found("removed from four targets", PATCHED, 0, 2, 2)
