"""The bucket CHECKS: whether each policy in force compiles, and what its rules did since it last changed.

Every copy of the worker checks every policy, and what it finds is the same: it is written once, by compare-and-set.
What rules do differs between copies: each adds what it saw, now and then. Nothing depends on these counts, so a copy
that is killed takes its last ones along.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping

from services.policy.cel.isolation import Isolation, Unavailable
from services.policy.core import INLINE
from services.policy.tally import Identity, Tallies, Tally, added, checked, holding, identity, is_untold
from shared.aio.workqueue import WorkQueue
from shared.broker.bus import BusError
from shared.broker.store import Conflict
from shared.broker.table import Entry, Table, View
from shared.hub.holding import reaches
from shared.model.policy import PolicyCheck, PolicyEntry, RuleResult
from shared.model.refs import PolicyRef

log = logging.getLogger("moorage.policy")

_AGAIN = 5.0  # seconds until something that failed is tried again
_RACES = 5


class Checks:
    """The bucket, for the policies that `policies` follows. `follow` and `work` must be running."""

    def __init__(
        self, *, table: Table[PolicyCheck], view: View[PolicyCheck], policies: View[PolicyEntry], isolation: Isolation
    ) -> None:
        self._table = table
        self._view = view
        self._policies = policies
        self._isolation = isolation
        self._queue: WorkQueue[str] = WorkQueue(owner=lambda key: PolicyRef.from_key(key).workspace)
        self._reviewed: dict[str, Identity] = {}
        self._tallies = Tallies()

    async def follow(self) -> None:
        """Have every policy looked at that appears, changes or goes, until cancelled."""
        self._look_at(self._view.entries)  # some of them may be of policies that went while nobody looked
        async for keys in self._policies.changes():
            self._look_at(keys)

    async def work(self) -> None:
        """Look at one policy after the other, until cancelled."""
        later: Callable[..., object] = asyncio.get_running_loop().call_later
        while True:
            key = await self._queue.get()
            try:
                await self._settle(key)
            except Conflict:
                self._queue.add(key)
            except (BusError, Unavailable) as error:
                log.warning("a policy's check waits", extra={"policy": key, "error": str(error)})
                later(_AGAIN, self._queue.add, key)
            except Exception:
                log.exception("a policy could not be checked", extra={"policy": key})
                later(_AGAIN, self._queue.add, key)
            finally:
                self._queue.done(key)

    def _look_at(self, keys: Iterable[str]) -> None:
        for key in filter(PolicyRef.is_key, keys):
            self._queue.add(key)

    async def _settle(self, key: str) -> None:
        """Bring the record in line with the policy as it is now. Raises Conflict if somebody wrote meanwhile."""
        known = await self._table.get(key)
        entry = await self._policies.fresh(key)
        if entry is None:
            self._reviewed.pop(key, None)
            if known is not None:
                await self._table.delete(key, known.revision)
            return
        policy = entry.value
        recorded = known is not None and identity(known.value) == identity(policy)
        if recorded and self._reviewed.get(key) == identity(policy):
            return
        findings = await self._isolation.review(policy.spec, policy.workspace)
        check = checked(policy, findings, known.value if known else None)
        if known is None or check != known.value:
            await self._table.update(key, check, known.revision if known else 0)
        self._reviewed[key] = identity(policy)

    async def holding(self, policies: Mapping[str, Entry[PolicyEntry]], workspace: str) -> list[PolicyEntry]:
        """The policies (by their keys) as they hold for a workspace: those that do not compile, as they last did.

        Waits until it is known of one that changed whether it compiles, since what was valid holds until then.
        """
        while True:
            revision, checks = self._view.revision, self._view.entries
            known = [
                holding(entry.value, checks[key].value if key in checks else None)
                for key, entry in policies.items()
                if reaches(entry.value.workspace, workspace)
            ]
            if None not in known:
                return [each for each in known if each is not None]
            await self._view.moved(revision)

    def untold(self, policies: Mapping[str, Entry[PolicyEntry]]) -> frozenset[str]:
        """The ids of those of the policies (by their keys) whose check did not come to its end."""
        checks = self._view.entries
        return frozenset(
            PolicyRef.of(entry.value).id
            for key, entry in policies.items()
            if key in checks and is_untold(checks[key].value, entry.value)
        )

    # --- counts -----------------------------------------------------------------------------------------------------

    def count(self, policies: Mapping[str, Entry[PolicyEntry]], results: Iterable[RuleResult]) -> None:
        """Remember what rules did in one evaluation, in which `policies` were in force (by their keys)."""
        for result in results:
            key = PolicyRef.parse(result.policy).key
            if result.evaluated and result.policy != INLINE and key in policies:
                self._tallies.add(key, identity(policies[key].value), result)

    async def flush(self) -> None:
        """Add to the records what was counted since the last time; and mend the bucket where somebody emptied it."""
        self._look_at(self._policies.entries.keys() ^ self._view.entries.keys())
        for key, tally in self._tallies.take().items():
            policy = self._policies.get(key)
            if policy is None or identity(policy) != tally.identity:
                continue  # it went or changed meanwhile, and counting began anew
            try:
                recorded = await self._add(key, tally)
            except (BusError, Conflict) as error:
                log.info("counts wait for another turn", extra={"policy": key, "error": str(error)})
                recorded = False
            if not recorded:
                self._tallies.put_back(key, tally)

    async def _add(self, key: str, tally: Tally) -> bool:
        """True if there was a record to add to. Raises Conflict where others are always faster."""
        for _ in range(_RACES):
            known = await self._table.get(key)
            if known is None or identity(known.value) != tally.identity:
                return False
            try:
                await self._table.update(key, added(known.value, tally), known.revision)
            except Conflict:
                continue
            return True
        raise Conflict(f"the record of policy {key} keeps changing")
