"""Times survive the way to an API server and back."""

import pytest

from shared.kube.times import rfc3339, seconds

NOW = 1_800_000_000.25


def test_a_time_is_the_same_after_the_way_there_and_back() -> None:
    assert rfc3339(NOW) == "2027-01-15T08:00:00.250000Z"
    assert seconds(rfc3339(NOW)) == NOW
    assert rfc3339(NOW, "seconds") == "2027-01-15T08:00:00Z"


@pytest.mark.parametrize("text", ["", "nonsense", "2027-13-01T00:00:00Z"])
def test_what_is_no_time_is_the_epoch(text: str) -> None:
    assert seconds(text) == 0.0
