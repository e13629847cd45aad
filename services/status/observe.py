"""Objects in the targets, observed: one informer per target and kind on what Moorage placed there."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Collection

import msgspec

from services.status.parts import part_of
from services.status.placed import GroupKind
from services.status.reports import NOT_SEEN, gone, parse_ref
from services.status.rules import Diagnosis, health
from shared.aio.backoff import backoff, jittered
from shared.aio.lru import Lru
from shared.api import Ending
from shared.hub.kinds import BUILT_IN, Kinds, expires
from shared.hub.names import APPLIER, MANAGED_SELECTOR, OWNER_ANNOTATION, parse_owner
from shared.hub.targets import TargetClients
from shared.kube.apis import RestMapper, UnknownKind
from shared.kube.client import Bounds, Client
from shared.kube.errors import ApiError, Closed, ConfigError, KubeError
from shared.kube.informer import Informer
from shared.kube.objects import owned_fields
from shared.kube.resources import group_of
from shared.kube.subscription import Change
from shared.model.refs import PlacementRef
from shared.model.report import ObjectHealth, PartStatus
from shared.model.target import KubeconfigRef, Target

log = logging.getLogger("moorage.status")

_OPENING = 16  # informers that are being opened at once, over all targets
_FIRST, _MOST = 4.0, 60.0  # seconds between two attempts to open one, at first and after many in vain
_LIMIT = Bounds(objects=20_000, bytes=128 << 20)  # of one kind in one target, whose server is not trusted
_ENDED = 10_000  # objects that ran to their end
_DISCOVERY = 16 << 20  # bytes of one answer about what a target serves

_Behind = tuple[str, str, KubeconfigRef | None]


class SeenObject(msgspec.Struct, frozen=True):
    """An object as it is remembered: whose it is, how it is, what we own of it, and whether it is deleted some time
    after its end; in some hundred bytes. `status` is what the workspace's object shows of it."""

    owner: PlacementRef
    diagnosis: Diagnosis
    owned_fields: str
    uid: str = ""
    expires: bool = False
    status: PartStatus | None = None


def decode(api_version: str, kind: str, kinds: Callable[[str], Kinds]) -> Callable[[bytes], SeenObject]:
    """Makes a SeenObject out of an object's JSON, by the `kinds` that its workspace knows. Raises ValueError for one
    that names no owner.
    """

    def project(raw: bytes) -> SeenObject:
        obj = {**msgspec.json.decode(raw), "apiVersion": api_version, "kind": kind}
        owner = parse_owner(str((obj["metadata"].get("annotations") or {}).get(OWNER_ANNOTATION, "")))
        if owner is None:
            raise ValueError("it names no Placement that owns it")
        known = kinds(owner.workspace)
        return SeenObject(
            owner=owner,
            diagnosis=health(obj, known),
            owned_fields=owned_fields(obj, APPLIER),
            uid=str(obj["metadata"].get("uid", "")),
            expires=expires(obj, known.of(obj)),
            status=part_of(obj, known.of(obj)),
        )

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
        kinds: Callable[[str], Kinds] = lambda _: BUILT_IN,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`kinds` says what a workspace knows. `clock` in seconds, `chance` 0..1 and `sleep` are injected by tests."""
        self._clients = clients
        self._target = target
        self._changed = changed
        self._synced = synced
        self._kinds = kinds
        self._clock = clock
        self._chance = chance
        self._sleep = sleep
        self._room = asyncio.Semaphore(_OPENING)
        self._tasks: dict[tuple[str, GroupKind], asyncio.Task[None]] = {}
        self._informers: dict[str, dict[GroupKind, Informer[SeenObject]]] = {}
        self._mappers: dict[str, tuple[Client, RestMapper]] = {}
        self._behind: dict[str, _Behind] = {}  # what each target was when it was last opened
        self._ended: Lru[str, Ending] = Lru(
            _ENDED
        )  # by uid: whoever looks may be told of the end and the deletion at once

    def want(self, target: str, kinds: Collection[GroupKind]) -> None:
        """Follow these kinds in this target, and no others; none of them: leave the target alone."""
        wanted = {(target, kind) for kind in kinds}
        for key in [key for key in self._tasks if key[0] == target and key not in wanted]:
            self._tasks.pop(key).cancel()
        for key in wanted - self._tasks.keys():
            self._tasks[key] = asyncio.create_task(self._follow(*key), name=f"observe {target} {key[1][1]}")
        if not wanted:
            self._mappers.pop(target, None)
            self._behind.pop(target, None)

    def anew(self, kinds: Collection[tuple[str, str]]) -> None:
        """Read objects of some kinds (by group and kind) anew: what is declared of them is something else now."""
        self._begin_anew([key for key in self._tasks if (group_of(key[1][0]), key[1][1]) in kinds])

    def note(self, target: str) -> None:
        """The inventory has something new of a target. What is followed there is followed by another client if it is
        another cluster by now, or another way leads there.
        """
        found, before = self._target(target), self._behind.get(target)
        if found is not None and before not in (None, _behind(found)):
            self._begin_anew([key for key in self._tasks if key[0] == target])

    def _begin_anew(self, keys: Collection[tuple[str, GroupKind]]) -> None:
        """Begin to follow anew. Until all has been read again, objects are as they are known."""
        for key in keys:
            self._tasks.pop(key).cancel()
            self._tasks[key] = asyncio.create_task(self._follow(*key), name=f"observe {key[0]} {key[1][1]}")

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
            return msgspec.structs.replace(
                known,
                health=found.health,
                message=found.message,
                replicas=found.replicas,
                ready=found.ready,
                owned_fields=seen.owned_fields,
                uid=seen.uid,
                ended=found.ended,
                expires=seen.expires,
                status=seen.status,
            )
        ended = known.ended or self._ended.get(known.uid) or ""
        if not ended and known.message == NOT_SEEN and not late:
            return known
        return gone(known, ended)

    def follows(self, target: str, kinds: Collection[GroupKind]) -> bool:
        """Whether all objects of these kinds that there are in a target are known."""
        informers = self._informers.get(target, {})
        return all(kind in informers and informers[kind].synced.is_set() for kind in kinds)

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
            informer: Informer[SeenObject] | None = None
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
                    self._clients.renew(target)
            except Exception:
                log.exception("%s in %s is not followed", kind[1], target)
            finally:
                self._forget(target, kind, informer)
            failures += 1
            await self._sleep(jittered(backoff(failures, first=_FIRST, most=_MOST), self._chance()))

    def _forget(self, target: str, kind: GroupKind, informer: Informer[SeenObject] | None) -> None:
        kinds = self._informers.get(target, {})
        if kinds.get(kind) is informer:
            kinds.pop(kind, None)
        if not kinds:
            self._informers.pop(target, None)

    async def _open(self, target: str, kind: GroupKind) -> Informer[SeenObject]:
        found = self._target(target)
        if found is None:
            raise ConfigError(f"target {target} is not in the inventory")
        self._behind[target] = _behind(found)
        client = await self._clients.get(found)
        known = self._mappers.get(target)
        if known is None or known[0] is not client:
            mapper = RestMapper(client.bounded(_DISCOVERY), known=found.apis)
            known = self._mappers[target] = (client, mapper)
        resource = await known[1].resource(*kind)
        return Informer(
            client,
            resource,
            label_selector=MANAGED_SELECTOR,
            decode=self._remembering(decode(*kind, self._kinds)),
            limit=_LIMIT,
            on_error=_give_up,
        )

    def _remembering(self, decode: Callable[[bytes], SeenObject]) -> Callable[[bytes], SeenObject]:
        def project(raw: bytes) -> SeenObject:
            seen = decode(raw)
            if seen.diagnosis.ended:
                self._ended.put(seen.uid, seen.diagnosis.ended)
            return seen

        return project

    def _hear(self, target: str, change: Change[SeenObject]) -> None:
        if change.kind == "Synced":
            self._synced(target)
        for seen in (change.old, change.object):
            if seen is not None:
                self._changed(seen.owner, target)


def _behind(target: Target) -> _Behind:
    """What stands behind the name of a target, and the way to it."""
    return target.uid, target.cluster, target.kubeconfig


def _give_up(error: KubeError) -> None:
    """Credentials that are refused or lead astray, or a client that another kind had closed for it, are not cured by
    asking again: raising ends the informer, and the next one has a new client."""
    if isinstance(error, Closed | ConfigError) or (isinstance(error, ApiError) and error.unauthorized):
        raise error
