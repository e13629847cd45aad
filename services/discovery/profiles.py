"""Makes SyncTargets of ClusterProfiles, where that is switched on, and keeps them as these say."""

import asyncio
import bisect
import contextlib
import functools
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec

from services.discovery.deriving import (
    CONSUMER,
    CONSUMER_LABEL,
    Derivation,
    Step,
    correction,
    secrets_of,
)
from services.discovery.settings import DiscoverySettings
from services.discovery.targets import Targets
from services.discovery.telling import FIELD_MANAGER
from shared.aio.backoff import backoff
from shared.api import SyncTarget
from shared.hub.access_providers import NO_ACCESS, AccessProviders
from shared.hub.resources import CLUSTER_PROFILES, SYNCTARGETS
from shared.kube.client import Bounds, Client
from shared.kube.errors import ApiError, KubeError
from shared.kube.informer import Informer
from shared.kube.resources import SECRETS, Resource
from shared.model.refs import TargetRef

log = logging.getLogger("moorage.discovery")

MOST = Bounds(objects=20_000, bytes=64 << 20)  # of one kind in one namespace, of each of which its labels are kept
QUIET = 0.2
"""Seconds from a change until it is acted on. Changes come in bursts."""
LONGEST_QUIET = 30.0
"""Seconds that a look may take which is followed by as long a pause; others come to their turn meanwhile."""
AT_A_STRETCH = 100
"""Names that are looked at before others come to their turn."""
RETRY = 5.0
"""Seconds until what failed is tried again; then ever more, up to the time after which all is looked at anyway."""
MOST_REFUSED = 10
"""Requests of a kind that are sent in one look though the hub refuses us. Of one only, its name may be the reason."""

T = TypeVar("T")

LookOutcome = Literal["Done", "Waits", "Failed"]
"""What came of a look. Waits: something is to be done before long."""


class _Profile(NamedTuple):
    """What is kept of a ClusterProfile."""

    labels: dict[str, str]
    access: str = NO_ACCESS  # its version, where it names an access provider that the operator lists for it


class _Meta(msgspec.Struct):
    labels: dict[str, str] | None = None


class _Object(msgspec.Struct):
    metadata: _Meta


_OBJECT = msgspec.json.Decoder(_Object)


class ClusterProfiles:
    """Goes with `Targets` into each workspace, and has the clusters of profiles offered there.

    Of all copies of the worker, the one that looks at a target sees to its SyncTarget; each looks anew from time to
    time, so that what one leaves undone another does. A SyncTarget goes a while after its profile: who installs the
    kind anew has no profiles for a moment, and everything that runs in their clusters would have to leave.
    """

    def __init__(
        self,
        targets: Targets,
        settings: DiscoverySettings,
        mine: Callable[[str], bool],
        clock: Callable[[], float],
        providers: AccessProviders,
    ) -> None:
        """`mine`: whether it is for this copy of the worker to look at a target, by its key; `clock`: in seconds."""
        self._targets = targets
        self._settings = settings
        self._mine = mine
        self._clock = clock
        self._providers = providers
        self._remembered: dict[str, _Remembered] = {}  # by workspace

    async def follow(self, workspace: str, client: Client) -> None:
        """Follow targets and profiles of a workspace until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._targets.follow(workspace, client))
            tasks.create_task(self._follow_profiles(workspace, client))

    def forget(self, workspace: str) -> None:
        """The workspace is gone."""
        self._remembered.pop(workspace, None)
        self._targets.forget(workspace)

    def sweep(self, gone: Callable[[str], bool]) -> None:
        """Put right what is stored, given which workspaces are gone for certain."""
        self._targets.sweep(gone)

    async def _follow_profiles(self, workspace: str, client: Client) -> None:
        """A bug of ours that some profile wakes must not end the process: what is offered already goes on."""
        due = asyncio.Event()
        decode = functools.partial(self._profile, workspace)
        try:
            async with self._informer(client, CLUSTER_PROFILES, decode) as profiles:
                await profiles.synced.wait()  # where none are served, Secrets are not followed either
                async with (
                    self._informer(client, SECRETS, _labels, f"{CONSUMER_LABEL}={CONSUMER}") as secrets,
                    asyncio.TaskGroup() as tasks,
                ):
                    tasks.create_task(_note(profiles, due))
                    tasks.create_task(_note(secrets, due))
                    await secrets.synced.wait()
                    failures = 0
                    while True:
                        begun = self._clock()
                        outcome = await self._look(workspace, client, profiles.objects, secrets.objects)
                        took = self._clock() - begun
                        failures = failures + 1 if outcome == "Failed" else 0
                        pause = self._settings.rewalk_interval_seconds
                        if outcome != "Done":
                            pause = backoff(failures, first=RETRY, most=pause)
                        with contextlib.suppress(TimeoutError):
                            async with asyncio.timeout(pause):
                                await due.wait()
                        await asyncio.sleep(max(QUIET, min(took, LONGEST_QUIET)))
                        due.clear()
        except Exception:
            log.exception("SyncTargets are not derived any more", extra={"workspace": workspace})

    def _profile(self, workspace: str, raw: bytes) -> _Profile:
        if not self._providers:
            return _Profile(_labels(raw))
        namespace = self._settings.derive_from_namespace
        return _Profile(_labels(raw), self._providers.version(workspace, namespace, msgspec.json.decode(raw)))

    def _informer(
        self, client: Client, resource: Resource, decode: Callable[[bytes], T], label_selector: str = ""
    ) -> Informer[T]:
        return Informer(
            client,
            resource,
            namespace=self._settings.derive_from_namespace,
            label_selector=label_selector,
            decode=decode,
            metadata=resource is SECRETS or not self._providers,
            refused=self._settings.absent_retry_seconds,
            limit=MOST,
        )

    async def _look(
        self,
        workspace: str,
        client: Client,
        profiles: Mapping[tuple[str, str], _Profile],
        secrets: Mapping[tuple[str, str], dict[str, str]],
    ) -> LookOutcome:
        """Do what is to be done in a workspace now."""
        offered = self._targets.offered(workspace)
        if offered is None:
            return "Waits"
        namespace = self._settings.derive_from_namespace
        accesses = {name: profile.access for (_, name), profile in profiles.items()}
        self._targets.profiles_say(workspace, namespace, accesses)
        derivation = Derivation(
            namespace,
            {name: profile.labels for (_, name), profile in profiles.items()},
            secrets_of({name: labels for (_, name), labels in secrets.items()}),
            {name for name, access in accesses.items() if access != NO_ACCESS},
        )
        found = {name: target for (_, name), target in offered.items()}
        most = self._settings.max_workspace_targets
        room = most - len(found) if most else len(derivation.labels)
        past = self._remembered.setdefault(workspace, _Remembered())
        outcomes: set[LookOutcome] = set()
        refused: Counter[Step] = Counter()
        names = sorted(derivation.labels.keys() | {name for name, each in found.items() if derivation.made(each)})
        past.keep(names)
        first = bisect.bisect_right(names, past.refused)
        async for name in in_turns(names[first:] + names[:first]):
            if not self._mine(TargetRef(workspace=workspace, name=name).key):
                continue
            step = derivation.step(name, found.get(name))
            if step != "TakeAway":
                past.gone.pop(name, None)
            elif self._clock() - past.gone.setdefault(name, self._clock()) < self._settings.profile_gone_seconds:
                outcomes.add("Waits")
                continue
            if refused[step] >= MOST_REFUSED:
                continue
            try:
                trouble = await self._take(step, client, derivation, name, found.get(name), room > 0)
                room -= step == "Make"
                past.gone.pop(name, None)
            except KubeError as error:
                if isinstance(error, ApiError) and (error.conflict or error.already_exists):
                    outcomes.add("Waits")
                    continue  # somebody was faster, mostly discovery itself with the status
                outcomes.add("Failed")
                if isinstance(error, ApiError) and error.forbidden:
                    refused[step] += 1
                    past.refused = name
                trouble = str(error)
            past.tell(workspace, name, trouble)
        return next((each for each in ("Failed", "Waits") if each in outcomes), "Done")

    async def _take(
        self, step: Step, client: Client, derivation: Derivation, name: str, found: SyncTarget | None, room: bool
    ) -> str:
        """Take the step of one SyncTarget; says what stands in its way for good, if anything. Raises KubeError."""
        if step == "Taken":
            return "somebody else has a SyncTarget of this name"
        if step == "Make":
            if not room:
                return f"the workspace has the {self._settings.max_workspace_targets} SyncTargets that it may have"
            await client.create(SYNCTARGETS, derivation.derived(name), field_manager=FIELD_MANAGER)
        elif step == "Keep" and found is not None:
            if patch := correction(found, derivation.derived(name)):
                await client.merge_patch(SYNCTARGETS, name, patch, field_manager=FIELD_MANAGER)
        elif step == "TakeAway" and found is not None:
            await self._take_away(client, found, derivation.namespace)
        return ""

    async def _take_away(self, client: Client, found: SyncTarget, namespace: str) -> None:
        """Delete one whose profile is gone by the API server's own word."""
        metadata = found.metadata
        try:
            await client.get(CLUSTER_PROFILES, metadata.name, namespace)
        except ApiError as error:
            if not error.absent(metadata.name):
                raise
            await client.delete(
                SYNCTARGETS, metadata.name, uid=metadata.uid, resource_version=metadata.resource_version
            )


class _Remembered:
    """What is remembered of a workspace from one look to the next."""

    def __init__(self) -> None:
        self.gone: dict[str, float] = {}  # since when there is no profile any more, by name of the target
        self.told: dict[str, str] = {}  # what stands in the way, by name of the target, so that it is told once
        self.refused = ""  # whom the hub refused last: the next look begins behind it, so that it is in nobody's way

    def keep(self, names: Iterable[str]) -> None:
        """Forget all but these."""
        self.gone = {name: self.gone[name] for name in names if name in self.gone}
        self.told = {name: self.told[name] for name in names if name in self.told}

    def tell(self, workspace: str, name: str, trouble: str) -> None:
        """Say what stands in the way of a SyncTarget, if it is new; empty: nothing does."""
        if trouble and self.told.get(name) != trouble:
            extra = {"workspace": workspace, "target": name, "error": trouble}
            log.warning("a SyncTarget is not as its ClusterProfile has it", extra=extra)
        if trouble:
            self.told[name] = trouble
        else:
            self.told.pop(name, None)


async def in_turns(names: Iterable[str]) -> AsyncIterator[str]:
    """The same names; others on the event loop come to their turn on the way."""
    for count, name in enumerate(names, 1):
        yield name
        if count % AT_A_STRETCH == 0:
            await asyncio.sleep(0)


async def _note(informer: Informer[Any], due: asyncio.Event) -> None:
    async for _ in informer.events():
        due.set()


def _labels(raw: bytes) -> dict[str, str]:
    return _OBJECT.decode(raw).metadata.labels or {}
