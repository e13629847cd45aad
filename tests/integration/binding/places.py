"""Where a test of binding runs."""

import pytest

REAL = "a real target"

in_any_target = pytest.mark.parametrize(
    "scene",
    [
        "sandbox",
        pytest.param(
            REAL, marks=[pytest.mark.servers, pytest.mark.xdist_group("servers-binding"), pytest.mark.timeout(240)]
        ),
    ],
    indirect=True,
)
"""In the sandbox, and on a real API server with its controllers."""
