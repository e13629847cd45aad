"""Follows the Secrets that hold kubeconfigs, so that one that changed is used before anybody is refused; and is told
what ClusterProfiles say of access.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping

import msgspec

from shared.hub.access_providers import NO_ACCESS
from shared.hub.targets import secret_version
from shared.kube.client import Bounds, Client
from shared.kube.informer import Informer
from shared.kube.resources import SECRETS
from shared.model.target import KubeconfigRef

log = logging.getLogger("moorage.discovery")

MOST = Bounds(objects=20_000, bytes=64 << 20)  # Secrets of one namespace, of each of which its version is kept

_Place = tuple[str, str]
"""A workspace, and a namespace in it."""


class _Meta(msgspec.Struct, rename="camel"):
    uid: str = ""
    resource_version: str = ""


class _Object(msgspec.Struct):
    metadata: _Meta


_OBJECT = msgspec.json.Decoder(_Object)


class KubeconfigSecrets:
    """The versions of Secrets, in the namespaces that SyncTargets name: one watch each, of metadata alone. Those of
    what ClusterProfiles say of access are told by whoever follows these.

    Where we may not list them, a Secret is read again when its target refuses us or does not answer.
    """

    def __init__(self, changed: Callable[[str, str, str], None], *, refused: float) -> None:
        """`changed` hears of workspace, namespace and name; `refused`: seconds until what we may not list is tried."""
        self._changed = changed
        self._refused = refused
        self._informers: dict[_Place, Informer[str]] = {}
        self._tasks: dict[_Place, asyncio.Task[None]] = {}
        self._profiles: dict[_Place, dict[str, str]] = {}

    def profiles(self, workspace: str, namespace: str, versions: Mapping[str, str]) -> None:
        """What the ClusterProfiles of a namespace say of access now: its version, by name of the profile."""
        before = self._profiles.get((workspace, namespace), {})
        self._profiles[workspace, namespace] = dict(versions)
        for name in before.keys() | versions.keys():
            if before.get(name) != versions.get(name):
                self._changed(workspace, namespace, name)

    def follow(self, workspace: str, client: Client, ref: KubeconfigRef) -> None:
        """Follow the namespace of a Secret in a workspace, until the workspace is left."""
        place, namespace = (workspace, ref.namespace), ref.namespace
        if place not in self._tasks and not ref.profile:
            self._informers[place] = informer = Informer(
                client,
                SECRETS,
                namespace=namespace,
                decode=_version,
                metadata=True,
                refused=self._refused,
                limit=MOST,
            )
            self._tasks[place] = asyncio.create_task(self._run(place, informer), name=f"Secrets of {workspace}")

    def version(self, workspace: str, ref: KubeconfigRef) -> str:
        """The version of what a reference is to as far as it is known; else as the reference has it."""
        if ref.profile:
            profiles = self._profiles.get((workspace, ref.namespace))
            return ref.version if profiles is None else profiles.get(ref.name, NO_ACCESS)
        informer = self._informers.get((workspace, ref.namespace))
        return (informer.objects.get((ref.namespace, ref.name)) if informer is not None else None) or ref.version

    async def leave(self, workspace: str) -> None:
        """Follow nothing of a workspace any more."""
        for place in [place for place in self._profiles if place[0] == workspace]:
            del self._profiles[place]
        for place in [place for place in self._tasks if place[0] == workspace]:
            task = self._tasks.pop(place)
            del self._informers[place]
            task.cancel()
            await asyncio.wait([task])

    async def _run(self, place: _Place, informer: Informer[str]) -> None:
        try:
            async with informer:
                async for change in informer.events():
                    if change.kind in ("Added", "Modified"):
                        self._changed(place[0], place[1], change.key[1])
        except Exception:  # Secrets are read again for other reasons, too
            log.exception("Secrets are not followed", extra={"workspace": place[0], "namespace": place[1]})


def _version(raw: bytes) -> str:
    metadata = _OBJECT.decode(raw).metadata
    return secret_version(metadata.uid, metadata.resource_version)
