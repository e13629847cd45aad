"""Run the status worker alone: `python -m services.status`."""

from services.status.worker import worker
from shared.pipeline.process import main

if __name__ == "__main__":
    main(worker)
