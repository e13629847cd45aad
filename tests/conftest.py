"""What holds for all tests."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "servers: needs real Kubernetes servers; skipped with a reason where none are")
