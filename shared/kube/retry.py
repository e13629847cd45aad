"""What a handler does about an API server's refusal: come again later, or give up."""

from collections.abc import Iterator
from contextlib import contextmanager

from shared.bus import Retry
from shared.kube.errors import ApiError, ConfigError, Unreachable

SOON = 0.1
LATER = 2.0
MUCH_LATER = 15.0


@contextmanager
def as_retry() -> Iterator[None]:
    """Turn what may pass into `Retry`: a lost race at once, an outage soon, missing rights or kinds slowly.

    What is left (400, 422: we sent nonsense) is a bug and is raised as it is.
    """
    try:
        yield
    except (Unreachable, ConfigError) as error:
        raise Retry(LATER, str(error)) from error
    except ApiError as error:
        if error.conflict or error.already_exists:
            raise Retry(SOON, str(error)) from error
        if error.transient or error.too_many_requests:
            raise Retry(error.retry_after or LATER, str(error)) from error
        if error.forbidden or error.unauthorized or error.not_found:
            raise Retry(MUCH_LATER, str(error)) from error
        raise
