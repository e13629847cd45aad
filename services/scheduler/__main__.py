"""Run the scheduler alone: `python -m services.scheduler`."""

from services.scheduler.worker import worker
from shared.runner import main

main(worker)
