"""The containers of compose.yaml, each on its own and all together, where a Docker engine answers."""

import pytest

from tests.support.engine import why_not


@pytest.fixture(scope="session", autouse=True)
def engine() -> None:
    """Skips, and says why, where there is no engine."""
    if reason := why_not():
        pytest.skip(f"no Docker engine answers: {reason}")
