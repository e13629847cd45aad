"""PolicyExceptions at work: what each says on its status, until its time comes and after."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from services.controller.core.granting import exemption_of, status_of
from shared.aio.workqueue import WorkQueue
from shared.api import PlacementPolicySpec, PolicyException, to_dict
from shared.hub.requester import requester_of
from shared.hub.resources import EXCEPTIONS
from shared.kube.client import Client
from shared.kube.errors import KubeError
from shared.kube.times import rfc3339

log = logging.getLogger("moorage.controller")

SOON: Final = 5.0
"""Seconds after which a status is tried again that could not be written."""
MARGIN: Final = 0.05
"""Seconds after its end at which an exception is seen to, so that it is over by then on our clock."""
LONGEST: Final = 3600.0
"""Seconds for which a timer runs at most."""


class Granting:
    """Has the exceptions of one workspace say whether they are in force.

    `exceptions` are all there are by name, `policy` knows policies by name.
    """

    def __init__(
        self,
        client: Client,
        exceptions: Callable[[], Mapping[str, PolicyException]],
        policy: Callable[[str], PlacementPolicySpec | None],
        clock: Callable[[], float],
    ) -> None:
        self._client = client
        self._exceptions = exceptions
        self._policy = policy
        self._clock = clock
        self._changed: WorkQueue[str] = WorkQueue()
        self._due: dict[str, asyncio.TimerHandle] = {}  # bounded by the number of exceptions

    def look(self, policy: str) -> None:
        """See to all exceptions from a policy: it changed, or one of them did."""
        for name, each in self._exceptions().items():
            if each.spec.policy == policy:
                self._changed.add(name)

    async def run(self) -> None:
        """Keep what they say current until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                name = await self._changed.get()
                if name in self._due:
                    self._due.pop(name).cancel()
                try:
                    exception = self._exceptions().get(name)
                    if exception is not None and (again := await self._answer(exception)) is not None:
                        self._due[name] = loop.call_later(min(again, LONGEST), self._changed.add, name)
                except Exception:
                    log.exception("an exception is not seen to", extra={"exception": name})
                    self._due[name] = loop.call_later(SOON, self._changed.add, name)
                finally:
                    self._changed.done(name)
        finally:
            for timer in self._due.values():
                timer.cancel()

    async def _answer(self, exception: PolicyException) -> float | None:
        """Write its status where it is another; in how many seconds that is to be done again, None where nothing of
        itself changes it."""
        now, policy, author = self._clock(), exception.spec.policy, requester_of(exception)
        status = status_of(
            exception,
            self._policy(policy),
            self._from(policy),
            author.username if author is not None else "",
            now,
            rfc3339(now, "seconds"),
        )
        if status != exception.status:
            answered = msgspec.structs.replace(exception, status=status)
            try:
                await self._client.replace(EXCEPTIONS, to_dict(answered), subresource="status")
            except KubeError as error:
                facts = {"exception": exception.metadata.name, "error": str(error)}
                log.info("an exception's status waits", extra=facts)
                return SOON
        ends = exemption_of(exception).expires
        return ends - now + MARGIN if ends > now else None

    def _from(self, policy: str) -> Iterable[PolicyException]:
        return [each for each in self._exceptions().values() if each.spec.policy == policy]
