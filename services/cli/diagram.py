"""`moorage diagram`: the pipeline, drawn from the workers' declarations."""

import argparse
import sys
from typing import Any


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "diagram",
        description="Print the pipeline as a Mermaid flowchart, from what the workers declare to consume and emit.",
    )
    parser.set_defaults(run=run)


def run(_args: argparse.Namespace) -> int:
    """Print it."""
    from services.registry import load_all
    from shared.pipeline.topology import diagram

    sys.stdout.write(diagram(load_all()))
    return 0
