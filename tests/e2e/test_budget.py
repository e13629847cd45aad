"""What a placement costs in requests, messages and writes of buckets: what the budget says, no more and no less."""

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
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("idle")
async def test_what_is_in_place_costs_nothing_over_minutes(tmp_path):
    async with budget.scenarios(tmp_path, release_seconds=UPKEEP_SECONDS) as scenarios:
        await scenarios.fill(MANY)
        assert not await scenarios.idle(IDLE_SECONDS)
