"""Run the discovery worker alone: `python -m services.discovery`."""

from services.discovery.worker import worker
from shared.runner import main

main(worker)
