"""Run the binding worker alone: `python -m services.binding`."""

from services.binding.worker import worker
from shared.pipeline.process import main

if __name__ == "__main__":
    main(worker)
