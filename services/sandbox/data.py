"""What is a table rather than code lies beside this module as YAML."""

from pathlib import Path
from typing import Any

import yaml

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one where it was built


def load(name: str) -> Any:
    """The content of a file of this package."""
    return yaml.load(Path(__file__).with_name(name).read_bytes(), LOADER)  # noqa: S506 - a safe loader


KINDS = load("kinds.yaml")
