"""Run the discovery worker alone: `python -m services.discovery`."""

from services.discovery.worker import worker
from shared.pipeline.process import main

main(worker)
