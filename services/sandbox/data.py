"""Tables are YAML, in files beside the code that reads them."""

from pathlib import Path
from typing import Any

import yaml

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one where it was built


def load(path: Path) -> Any:
    """The content of a file."""
    return yaml.load(path.read_bytes(), LOADER)  # noqa: S506 - a safe loader
