"""Run the policy worker alone: `python -m services.policy`."""

from services.policy.worker import worker
from shared.pipeline.process import main

main(worker)
