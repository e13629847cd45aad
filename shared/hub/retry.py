"""Which errors of an API server make a handler try again, and how soon."""

from collections.abc import Iterator
from contextlib import contextmanager

from shared.broker.bus import Retry
from shared.hub.decisions import IncompleteDecision
from shared.kube.errors import ApiError, ConfigError, Unreachable

# Seconds.
SOON = 0.1
LATER = 2.0
MUCH_LATER = 15.0


@contextmanager
def as_retry() -> Iterator[None]:
    """Turn errors that may go away into `Retry`.

    A write that lost a race is repeated almost at once, an outage after some seconds, and missing rights or kinds later
    still, since somebody has to act. Everything else (400, 422: we sent something invalid) is a bug, and is raised as
    it is.
    """
    try:
        yield
    except (Unreachable, ConfigError, IncompleteDecision) as error:
        raise Retry(LATER, str(error)) from error
    except ApiError as error:
        if error.conflict or error.already_exists:
            raise Retry(SOON, str(error)) from error
        if error.transient or error.too_many_requests:
            raise Retry(error.retry_after or LATER, str(error)) from error
        if error.forbidden or error.unauthorized or error.not_found:
            raise Retry(MUCH_LATER, str(error)) from error
        raise
