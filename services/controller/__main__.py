"""`python -m services.controller`: this worker alone."""

from services.controller.worker import worker
from shared.pipeline.process import main

if __name__ == "__main__":
    main(worker)
