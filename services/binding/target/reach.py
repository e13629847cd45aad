"""Target clusters as far as they are in reach: opened, worked in within bounds, left alone while they do not answer."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from services.binding import errors
from services.binding.settings import BindingSettings
from services.binding.target.applyset import ApplySet
from services.binding.target.breaker import Breakers
from services.binding.target.claims import Held
from services.binding.target.way import Way
from services.binding.trouble import REMOVING, VACATING, Trouble, passing
from shared.aio.backoff import backoff
from shared.aio.lru import Lru
from shared.broker.bus import Retry
from shared.broker.table import View
from shared.hub.targets import TargetClients
from shared.kube.apis import RestMapper, UnknownKind
from shared.kube.client import Client
from shared.kube.errors import ApiError, ConfigError, KubeError
from shared.model.refs import PlacementRef, TargetRef
from shared.model.target import KubeconfigRef, Target

log = logging.getLogger("moorage.binding")

T = TypeVar("T")

_UNKNOWN = 2.0  # seconds until a target that is in no inventory is looked for again
_WAYS = 1000  # targets whose kinds and namespaces are remembered


class Reach:
    """The way to all targets, with a circuit breaker for each."""

    def __init__(
        self, settings: BindingSettings, clients: TargetClients, inventory: View[Target], clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._clients = clients
        self._ways: Lru[str, Way] = Lru(_WAYS)
        self._behind: Lru[str, tuple[str, str, KubeconfigRef | None, bool]] = Lru(_WAYS)
        self._clock = clock
        self._inventory = inventory
        self._breakers = Breakers(
            clock,
            threshold=settings.breaker_failures,
            first=settings.breaker_seconds,
            most=settings.retry_max_seconds,
        )

    def target(self, target: str) -> Target:
        """What is known of a target. Raises Retry while it is in no inventory."""
        if not self.knows(target):
            raise Retry(_UNKNOWN, f"target {target} is not in the inventory (yet)")
        return self._inventory.entries[TargetRef.parse(target).key].value

    def lost(self, target: str) -> bool:
        """Whether a target is known, and does not answer."""
        return self.knows(target) and self.target(target).lost_since > 0

    def knows(self, target: str) -> bool:
        """Whether a target is in the inventory."""
        return TargetRef.parse(target).key in self._inventory.entries

    async def open(self, target: str, ref: PlacementRef, uid: str) -> ApplySet:
        """What a Placement has in a target. Raises as `enter`."""
        return ApplySet(await self.enter(target), self.target(target), ref, uid)

    async def enter(self, target: str) -> Way:
        """The way into a target.

        Raises Retry while the target is left alone, Trouble without usable credentials, and what reading them raises.
        """
        found = self.target(target)
        self._note(found)
        wait = self._breakers.wait(target, lost=bool(found.lost_since))
        if wait > 0:
            raise Retry(
                max(wait, self._patience(target)), f"target {target} does not answer, and is left alone for a while"
            )
        try:
            client = await self._clients.get(found)
        except ConfigError as error:
            raise errors.of(error, f"target {target}") from error
        return self._way(found, client)

    async def work(self, target: str, work: Awaitable[T]) -> T:
        """Work in a target, in time, and tell the circuit breaker how it went. Raises Trouble."""
        where = f"target {target}"
        try:
            async with asyncio.timeout(self._settings.apply_timeout_seconds):
                result = await work
        except TimeoutError:
            self._breakers.failed(target)
            limit = self._settings.apply_timeout_seconds
            raise passing("Timeout", f"{where} did not take everything within {limit:g} s") from None
        except Trouble:
            self._breakers.succeeded(target)
            raise
        except (KubeError, UnknownKind) as error:
            if isinstance(error, KubeError) and errors.silent(error):
                log.info("target does not answer", extra={"target": target, "error": str(error)})
                self._breakers.failed(target)
            else:
                self._breakers.succeeded(target)
            if isinstance(error, ApiError) and error.unauthorized:
                self._clients.renew(target)
            raise errors.of(error, where) from error
        self._breakers.succeeded(target)
        return result

    def delay(self, target: str, problem: Trouble, retries: int) -> float:
        """Seconds until the next attempt: as the server asked, slowly where somebody has to act, else backing off."""
        settings = self._settings
        if problem.delay is not None:
            return problem.delay
        if problem.lasting:
            return settings.refused_retry_seconds
        most = settings.removing_retry_seconds if problem.reason in (REMOVING, VACATING) else settings.retry_max_seconds
        delay = backoff(min(retries, 32), first=settings.retry_initial_seconds, most=most)
        return max(delay, self._patience(target))

    def _note(self, target: Target) -> None:
        """Another cluster, another way to it, or one that is heard of again, is not left alone for what had no answer
        before.
        """
        behind = (target.uid, target.cluster, target.kubeconfig, bool(target.lost_since))
        if self._behind.get(target.id) != behind:
            self._behind.put(target.id, behind)
            self._breakers.succeeded(target.id)

    def _way(self, target: Target, client: Client) -> Way:
        known = self._ways.get(target.id)
        if known is None or known.client is not client:
            known = Way(client, RestMapper(client, known=target.apis), Held(self._clock))
            self._ways.put(target.id, known)
        return known

    def _patience(self, target: str) -> float:
        """Least seconds between attempts: more for a target that is known to be lost."""
        found = self._inventory.get(TargetRef.parse(target).key)
        return self._settings.lost_retry_seconds if found is not None and found.lost_since else 0.0
