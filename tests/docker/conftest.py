"""The containers of compose.yaml, each on its own, where a Docker engine answers."""

import gc
import warnings

import docker  # type: ignore[import-untyped]  # it ships no types
import pytest
from docker.errors import DockerException  # type: ignore[import-untyped]  # the same


@pytest.fixture(scope="session", autouse=True)
def engine() -> None:
    """Skips, and says why, where there is no engine."""
    if reason := why_not():
        pytest.skip(f"no Docker engine answers: {reason}")


def why_not() -> str:
    """Why containers cannot be started, or an empty string."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the client forgets to close a socket that it cannot connect
        try:
            client = docker.from_env(timeout=10)
            client.ping()
        except DockerException as error:
            reason = str(error)
        else:
            client.close()
            return ""
        gc.collect()
    return reason
