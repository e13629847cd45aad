"""What a placement costs in requests, messages and writes of buckets: what the budget says, no more and no less."""

from statistics import median_low

import pytest

from tests.support import budget

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

MANY = 200  # placements
IDLE_SECONDS = 300.0
UPKEEP_SECONDS = 5.0  # so that what is done once after a start is done by then, and the rest is seen often
AGAIN = 4  # more runs before a difference is believed, so that races have gone either way


@pytest.mark.xdist_group("e2e")
async def test_placing_and_removing_cost_what_the_budget_says(tmp_path):
    stored = budget.load()
    async with budget.scenarios(tmp_path) as scenarios:
        await scenarios.measure(budget.RUNS, budget.IDLE_SECONDS)
        if budget.differences(stored, scenarios.runs):
            await scenarios.measure(AGAIN, budget.IDLE_SECONDS)
        found = budget.differences(stored, scenarios.runs)
    assert not found, "\n".join(["if it is meant: python -m tests.support.budget", *found])


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("copies")
async def test_two_copies_of_each_worker_ask_at_most_a_tenth_more_than_one(tmp_path):
    async with budget.scenarios(tmp_path, copies=2) as scenarios:
        await scenarios.measure(budget.RUNS, budget.IDLE_SECONDS)
        if asking_too_much(scenarios):
            await scenarios.measure(AGAIN, budget.IDLE_SECONDS)
        found = asking_too_much(scenarios)
    assert not found


def asking_too_much(scenarios: budget.Scenarios) -> dict[str, list[int]]:
    """The requests of each run, where all scenarios together ask, as a rule, over a tenth more than the budget says."""
    asked, allowed = {}, 0.0
    for name, counts in budget.load().items():
        runs = scenarios.runs[name]
        asked[name] = [sum(count for (kind, _), count in run.items() if kind == "requests") for run in runs]
        allowed += 1.1 * sum(counts["requests"].values())
    return asked if sum(map(median_low, asked.values())) > allowed else {}


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("idle")
async def test_what_is_in_place_costs_nothing_over_minutes(tmp_path):
    async with budget.scenarios(tmp_path, release_seconds=UPKEEP_SECONDS) as scenarios:
        await scenarios.fill(MANY)
        assert not await scenarios.idle(IDLE_SECONDS)
