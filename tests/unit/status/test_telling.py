"""How far apart the same news of many placements is told."""

import pytest

from services.status.telling import SPREAD_SECONDS, apart


@pytest.mark.parametrize(("many", "all_within"), [(1, 1.0), (20, 1.0), (200, 10.0), (600, 30.0), (10_000, 30.0)])
def test_a_few_are_told_within_a_second_and_however_many_within_half_a_minute(many: int, all_within: float) -> None:
    assert many * apart(many) <= all_within <= SPREAD_SECONDS
