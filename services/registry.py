"""The declared workers, loaded by name: a process loads only those that it runs."""

import importlib
from collections.abc import Iterable

from services import PIPELINE
from shared.pipeline.worker import Worker


class UnknownWorker(ValueError):
    """There is no worker of that name; the message lists those that there are."""


def load(name: str) -> Worker:
    """The declaration of one worker."""
    if name not in PIPELINE:
        raise UnknownWorker(f"there is no worker {name!r}; the workers are {', '.join(PIPELINE)}")
    found: Worker = importlib.import_module(f"services.{name}.worker").worker
    return found


def load_all(names: Iterable[str] = PIPELINE) -> tuple[Worker, ...]:
    """Several declarations, all of them by default."""
    return tuple(load(name) for name in names)
