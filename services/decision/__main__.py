"""`python -m services.decision`: this worker alone."""

from services.decision.worker import worker
from shared.pipeline.process import main

if __name__ == "__main__":
    main(worker)
