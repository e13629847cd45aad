"""compose.yaml as tests see it."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ENTRYPOINT = ["moorage"]
"""That of deploy/Dockerfile; a test compares."""


def command(service: str) -> list[str]:
    """The whole command of a service that runs our image."""
    found = SERVICES[service]
    return [*found.get("entrypoint", ENTRYPOINT), *found["command"]]
