"""`python -m services`: every worker in one process, for development. Settings come from the environment."""

import os
import sys

from services.registry import load_all
from shared.pipeline import topology
from shared.pipeline.process import run_workers
from shared.process.logs import set_up_logging
from shared.process.settings import SettingsError, load


def main() -> int:
    """Run all workers until a signal comes; the exit code."""
    workers = load_all()
    topology.check(workers)
    try:
        settings = [(worker, load(worker.settings, {}, os.environ)) for worker in workers]
    except SettingsError as error:
        sys.stderr.write(f"moorage: {error}\n")
        return 2
    set_up_logging("all", settings[0][1].log_level, settings[0][1].log_format)
    return run_workers(settings)


if __name__ == "__main__":
    sys.exit(main())
