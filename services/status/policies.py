"""Keeps PlacementPolicy.status: follows what the policy worker found out, and writes it to the hub."""

import asyncio
import logging
from collections.abc import Callable

from services.status.compiled import counts_alone, is_news, policy_status, reason, sentence
from services.status.kubernetes import StatusRecords
from services.status.settings import StatusSettings
from shared.aio.workqueue import WorkQueue
from shared.broker.bus import Retry
from shared.broker.table import View
from shared.hub.retry import MUCH_LATER, as_retry
from shared.kube.times import rfc3339
from shared.model.policy import PolicyCheck
from shared.model.refs import PolicyRef

log = logging.getLogger("moorage.status")

WRITERS = 4
"""Policies that are written at once."""


class Policies:
    """The findings in `checks`, written to the hub. `run` must be running."""

    def __init__(
        self, settings: StatusSettings, *, records: StatusRecords, checks: View[PolicyCheck], clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._records = records
        self._checks = checks
        self._clock = clock
        self._queue: WorkQueue[str] = WorkQueue(WRITERS, owner=lambda key: PolicyRef.from_key(key).workspace)
        self._shown: dict[str, tuple[PolicyCheck, float]] = {}  # by key: what the status says, and since when we know
        self._timers: dict[str, asyncio.TimerHandle] = {}

    async def run(self) -> None:
        """Follow the checks until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(WRITERS):
                    tasks.create_task(self._write())
                async for keys in self._checks.changes():
                    for key in filter(PolicyRef.is_key, keys):
                        self._queue.add(key)
        finally:
            for timer in self._timers.values():
                timer.cancel()

    async def _write(self) -> None:
        while True:
            key = await self._queue.get()
            try:
                with as_retry():
                    await self._show(key)
            except Retry as later:
                log.debug("a policy's status waits", extra={"policy": key, "error": str(later)})
                self._look_later(key, later.delay)
            except Exception:
                log.exception("a policy's status could not be written", extra={"policy": key})
                self._look_later(key, MUCH_LATER)
            finally:
                self._queue.done(key)

    def _look_later(self, key: str, seconds: float) -> None:
        """Come back to a policy; one that changes meanwhile is looked at before."""
        before = self._timers.get(key)
        if before is not None:
            before.cancel()
        self._timers[key] = asyncio.get_running_loop().call_later(seconds, self._look, key)

    def _look(self, key: str) -> None:
        del self._timers[key]
        self._queue.add(key)

    async def _show(self, key: str) -> None:
        """Write the status if it differs. Raises Retry where counts alone have to wait, and ApiError."""
        check = self._checks.get(key)
        if check is None:
            self._shown.pop(key, None)
            return
        now = self._clock()
        shown, since = self._shown.get(key, (None, 0.0))
        if shown is not None and counts_alone(shown, check):
            if shown.counts == check.counts:
                return
            wait = since + self._settings.count_seconds - now
            if wait > 0:
                raise Retry(wait, "its counts were written a moment ago")
        policy = await self._records.policy(check.workspace, check.name)
        if policy is None or (policy.metadata.uid, policy.metadata.generation) != (check.uid, check.generation):
            return  # gone, made anew, or changed: what is checked next says more
        status = policy_status(policy.status, check, rfc3339(now, "seconds"))
        if status != policy.status:
            if is_news(policy.status, check):  # first: repeated after a crash, the Event is the same
                await self._records.tell(check.workspace, policy, "Warning", reason(check), sentence(check), now)
            await self._records.write_policy(check.workspace, policy, status)
        self._shown[key] = (check, now)
