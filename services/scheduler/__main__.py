"""Run the scheduler alone: `python -m services.scheduler`."""

from services.scheduler.worker import worker
from shared.pipeline.runner import main

main(worker)
