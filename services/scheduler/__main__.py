"""Run the scheduler alone: `python -m services.scheduler`."""

from services.scheduler.worker import worker
from shared.pipeline.process import main

main(worker)
