"""The examples that come with Moorage: in a wheel they lie beside the commands, in a checkout at its top."""

from pathlib import Path

_PACKAGED = Path(__file__).parents[1] / "data" / "examples"
EXAMPLES = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[3] / "examples"
