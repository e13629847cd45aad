"""Run the intake worker alone: `python -m services.intake`."""

from services.intake.worker import worker
from shared.pipeline.process import main

main(worker)
