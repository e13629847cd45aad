"""What holds for all tests."""

import os

import pytest
from hypothesis import HealthCheck, settings

# A busy machine makes examples slow; that is no counterexample. pytest's own timeout bounds every test.
settings.register_profile("moorage", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("long", settings.get_profile("moorage"), max_examples=500)  # for `make test-long`
# Measured, a test takes twice the time; which lines are reached shows in fewer cases, of which the long ones are more.
settings.register_profile("measured", settings.get_profile("moorage"), max_examples=20)  # for `make test COVERAGE=90`
settings.load_profile("moorage")

os.environ["MOORAGE_CONTEXTS"] = "/nonexistent/contexts.json"  # a developer's own contexts lead no test anywhere

UNMEASURED = ("e2e",)
"""Folders whose tests look at whole systems, from outside: that they are not measured saves minutes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.relative_to(item.config.rootpath / "tests").parts[0] in UNMEASURED:
            item.add_marker(pytest.mark.no_cover)
