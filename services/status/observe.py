"""Objects in the targets, observed: one informer per target and kind on what Moorage placed there."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Collection

import msgspec

from services.status.reports import GONE, NOT_SEEN, parse_ref
from services.status.rules import Diagnosis, health
from shared.aio.backoff import backoff, jittered
from shared.hub.names import APPLIER, MANAGED_SELECTOR, OWNER_ANNOTATION, parse_owner
from shared.hub.targets import TargetClients
from shared.kube.apis import RestMapper, UnknownKind
from shared.kube.client import Bounds, Client
from shared.kube.errors import ApiError, Closed, ConfigError, KubeError
from shared.kube.informer import Informer
from shared.kube.objects import owned_fields
from shared.kube.subscription import Change
from shared.model.refs import PlacementRef
from shared.model.report import ObjectHealth
from shared.model.target import Target

log = logging.getLogger("moorage.status")

_OPENING = 16  # informers that are being opened at once, over all targets
_FIRST, _MOST = 4.0, 60.0  # seconds between two attempts to open one, at first and after many in vain
_LIMIT = Bounds(objects=20_000, bytes=128 << 20)  # of one kind in one target, whose server is not trusted
_DISCOVERY = 16 << 20  # bytes of one answer about what a target serves

GroupKind = tuple[str, str]
"""API version and kind."""


class SeenObject(msgspec.Struct, frozen=True):
    """An object as it is remembered: whose it is, how it is, what we own of it; in some hundred bytes."""

    owner: PlacementRef
    diagnosis: Diagnosis
    owned_fields: str


def decode(api_version: str, kind: str) -> Callable[[bytes], SeenObject]:
    """Makes a SeenObject out of an object's JSON. Raises ValueError for one that names no owner."""

    def project(raw: bytes) -> SeenObject:
        obj = {**msgspec.json.decode(raw), "apiVersion": api_version, "kind": kind}
        owner = parse_owner(str((obj["metadata"].get("annotations") or {}).get(OWNER_ANNOTATION, "")))
        if owner is None:
            raise ValueError("it names no Placement that owns it")
        return SeenObject(owner, health(obj), owned_fields(obj, APPLIER))

    return project


class TargetObserver:
    """Follows kinds in targets. `changed` hears of each placement whose objects changed, `synced` of each target that
    could be seen as a whole.

    Call `want` with what is in use whenever that changes; `look` says how an object is now.
    """

    def __init__(
        self,
        clients: TargetClients,
        target: Callable[[str], Target | None],
        *,
        changed: Callable[[PlacementRef, str], None],
        synced: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`clock` in seconds, `chance` 0..1 and `sleep` are injected by tests."""
        self._clients = clients
        self._target = target
        self._changed = changed
        self._synced = synced
        self._clock = clock
        self._chance = chance
        self._sleep = sleep
        self._room = asyncio.Semaphore(_OPENING)
        self._tasks: dict[tuple[str, GroupKind], asyncio.Task[None]] = {}
        self._informers: dict[str, dict[GroupKind, Informer[SeenObject]]] = {}
        self._mappers: dict[str, tuple[Client, RestMapper]] = {}

    def want(self, target: str, kinds: Collection[GroupKind]) -> None:
        """Follow these kinds in this target, and no others; none of them: leave the target alone."""
        wanted = {(target, kind) for kind in kinds}
        for key in [key for key in self._tasks if key[0] == target and key not in wanted]:
            self._tasks.pop(key).cancel()
        for key in wanted - self._tasks.keys():
            self._tasks[key] = asyncio.create_task(self._follow(*key), name=f"observe {target} {key[1][1]}")
        if not wanted:
            self._mappers.pop(target, None)

    async def close(self) -> None:
        """Follow nothing any more."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def look(self, target: str, known: ObjectHealth, *, late: bool = False) -> ObjectHealth:
        """The object's health as it is seen now; what is not followed yet stays as it is known.

        One that was never seen may just have been applied, and counts as gone only when it is `late`.
        """
        api_version, kind, namespace, name = parse_ref(known.ref)
        informer = self._informers.get(target, {}).get((api_version, kind))
        if informer is None or not informer.synced.is_set():
            return known
        seen = informer.objects.get((namespace, name))
        if seen is not None:
            found = seen.diagnosis
            return ObjectHealth(
                ref=known.ref,
                health=found.health,
                message=found.message,
                replicas=found.replicas,
                ready=found.ready,
                owned_fields=seen.owned_fields,
            )
        if known.message == NOT_SEEN and not late:
            return known
        return ObjectHealth(ref=known.ref, health="Unhealthy", message=GONE)

    def silence(self, target: str) -> float:
        """For how many seconds nothing has been heard of a target that is followed; 0 for others."""
        heard = [informer.last_contact for informer in self._informers.get(target, {}).values()]
        return self._clock() - max(heard) if heard else 0.0

    async def _follow(self, target: str, kind: GroupKind) -> None:
        """Follow one kind in one target until cancelled; whatever goes wrong, try again.

        That holds for a bug of ours as well, which some target's odd answer may wake: it is logged, and the others
        are followed as before.
        """
        failures = 0
        while True:
            try:
                async with self._room:
                    informer = await self._open(target, kind)
                async with informer:
                    self._informers.setdefault(target, {})[kind] = informer
                    async for change in informer.events():
                        failures = 0
                        self._hear(target, change)
            except (KubeError, UnknownKind) as error:
                log.info("%s in %s is not followed: %s", kind[1], target, error)
                if isinstance(error, ApiError) and error.unauthorized:
                    await self._clients.forget(target)
            except Exception:
                log.exception("%s in %s is not followed", kind[1], target)
            finally:
                self._forget(target, kind)
            failures += 1
            await self._sleep(jittered(backoff(failures, first=_FIRST, most=_MOST), self._chance()))

    def _forget(self, target: str, kind: GroupKind) -> None:
        kinds = self._informers.get(target, {})
        kinds.pop(kind, None)
        if not kinds:
            self._informers.pop(target, None)

    async def _open(self, target: str, kind: GroupKind) -> Informer[SeenObject]:
        found = self._target(target)
        if found is None:
            raise ConfigError(f"target {target} is not in the inventory")
        client = await self._clients.get(found)
        known = self._mappers.get(target)
        if known is None or known[0] is not client:
            known = self._mappers[target] = (client, RestMapper(client.bounded(_DISCOVERY)))
        resource = await known[1].resource(*kind)
        return Informer(
            client, resource, label_selector=MANAGED_SELECTOR, decode=decode(*kind), limit=_LIMIT, on_error=_give_up
        )

    def _hear(self, target: str, change: Change[SeenObject]) -> None:
        if change.kind == "Synced":
            self._synced(target)
        for seen in (change.old, change.object):
            if seen is not None:
                self._changed(seen.owner, target)


def _give_up(error: KubeError) -> None:
    """Credentials that are refused or lead astray, or a client that another kind had closed for it, are not cured by
    asking again: raising ends the informer, and the next one has a new client."""
    if isinstance(error, Closed | ConfigError) or (isinstance(error, ApiError) and error.unauthorized):
        raise error
