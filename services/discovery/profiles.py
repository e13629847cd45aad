"""Makes SyncTargets of ClusterProfiles, where that is switched on, and keeps them as these say."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping

import msgspec

from services.discovery.deriving import (
    CONSUMER,
    CONSUMER_LABEL,
    PROFILES,
    Derivation,
    Step,
    correction,
    secrets_of,
)
from services.discovery.settings import DiscoverySettings
from services.discovery.targets import Targets
from services.discovery.telling import FIELD_MANAGER
from shared.api import SyncTarget
from shared.hub.resources import SYNCTARGETS
from shared.kube.client import Bounds, Client
from shared.kube.errors import ApiError, KubeError
from shared.kube.informer import Informer
from shared.kube.resources import SECRETS, Resource
from shared.model.refs import TargetRef

log = logging.getLogger("moorage.discovery")

MOST = Bounds(objects=20_000, bytes=64 << 20)  # of one kind in one namespace, of each of which its labels are kept
QUIET = 0.2
"""Seconds from a change until it is acted on. Changes come in bursts."""
RETRY = 5.0
"""Seconds until what failed is tried again."""
CONFLICT = 409


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
    ) -> None:
        """`mine`: whether it is for this copy of the worker to look at a target, by its key; `clock`: in seconds."""
        self._targets = targets
        self._settings = settings
        self._mine = mine
        self._clock = clock
        self._gone: dict[str, float] = {}  # since when there is no profile any more, by key of the target
        self._told: dict[str, str] = {}  # what stands in the way, by key of the target, so that it is told once

    async def follow(self, workspace: str, client: Client) -> None:
        """Follow targets and profiles of a workspace until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._targets.follow(workspace, client))
            tasks.create_task(self._follow_profiles(workspace, client))

    def forget(self, workspace: str) -> None:
        """The workspace is gone."""
        self._targets.forget(workspace)

    def sweep(self, gone: Callable[[str], bool]) -> None:
        """Put right what is stored, given which workspaces are gone for certain."""
        self._targets.sweep(gone)

    async def _follow_profiles(self, workspace: str, client: Client) -> None:
        """A bug of ours that some profile wakes must not end the process: what is offered already goes on."""
        due = asyncio.Event()
        try:
            async with self._informer(client, PROFILES) as profiles:
                await profiles.synced.wait()  # where none are served, Secrets are not followed either
                async with (
                    self._informer(client, SECRETS, f"{CONSUMER_LABEL}={CONSUMER}") as secrets,
                    asyncio.TaskGroup() as tasks,
                ):
                    tasks.create_task(_note(profiles, due))
                    tasks.create_task(_note(secrets, due))
                    await secrets.synced.wait()
                    while True:
                        done = await self._look(workspace, client, profiles.objects, secrets.objects)
                        pause = self._settings.rewalk_interval_seconds
                        with contextlib.suppress(TimeoutError):
                            async with asyncio.timeout(pause if done else min(RETRY, pause)):
                                await due.wait()
                        await asyncio.sleep(QUIET)
                        due.clear()
        except Exception:
            log.exception("SyncTargets are not derived any more", extra={"workspace": workspace})

    def _informer(self, client: Client, resource: Resource, label_selector: str = "") -> Informer[dict[str, str]]:
        return Informer(
            client,
            resource,
            namespace=self._settings.derive_from_namespace,
            label_selector=label_selector,
            decode=_labels,
            metadata=True,
            refused=self._settings.absent_retry_seconds,
            limit=MOST,
        )

    async def _look(
        self,
        workspace: str,
        client: Client,
        profiles: Mapping[tuple[str, str], dict[str, str]],
        secrets: Mapping[tuple[str, str], dict[str, str]],
    ) -> bool:
        """Do what is to be done in a workspace now; False where that is to be tried again."""
        offered = self._targets.offered(workspace)
        if offered is None:
            return False
        derivation = Derivation(
            self._settings.derive_from_namespace,
            {name: labels for (_, name), labels in profiles.items()},
            secrets_of({name: labels for (_, name), labels in secrets.items()}),
        )
        found = {name: target for (_, name), target in offered.items()}
        most = self._settings.max_workspace_targets
        room = most - len(found) if most else len(derivation.labels)
        done = True
        for name in sorted(derivation.labels.keys() | {name for name, each in found.items() if derivation.made(each)}):
            key = TargetRef(workspace=workspace, name=name).key
            if not self._mine(key):
                continue
            step = derivation.step(name, found.get(name))
            if step != "TakeAway":
                self._gone.pop(key, None)
            elif self._clock() - self._gone.setdefault(key, self._clock()) < self._settings.profile_gone_seconds:
                done = False
                continue
            try:
                trouble = await self._take(step, client, derivation, name, found.get(name), room > 0)
                room -= step == "Make"
                self._gone.pop(key, None)
            except KubeError as error:
                done = False
                if isinstance(error, ApiError) and error.status == CONFLICT:
                    continue  # somebody was faster, mostly discovery itself with the status
                trouble = str(error)
            self._tell(workspace, name, key, trouble)
        return done

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
            await client.get(PROFILES, metadata.name, namespace)
        except ApiError as error:
            if not error.absent(metadata.name):
                raise
            await client.delete(
                SYNCTARGETS, metadata.name, uid=metadata.uid, resource_version=metadata.resource_version
            )

    def _tell(self, workspace: str, name: str, key: str, trouble: str) -> None:
        if trouble and self._told.get(key) != trouble:
            extra = {"workspace": workspace, "target": name, "error": trouble}
            log.warning("a SyncTarget is not as its ClusterProfile has it", extra=extra)
        if trouble:
            self._told[key] = trouble
        else:
            self._told.pop(key, None)


async def _note(informer: Informer[dict[str, str]], due: asyncio.Event) -> None:
    async for _ in informer.events():
        due.set()


def _labels(raw: bytes) -> dict[str, str]:
    return _OBJECT.decode(raw).metadata.labels or {}
