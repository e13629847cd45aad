"""Run the discovery worker alone: `python -m services.discovery`."""

from services.discovery.worker import worker
from shared.pipeline.runner import main

main(worker)
