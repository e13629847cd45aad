"""RBAC in the workspaces that offer targets, followed, so that answers of old do not outlive a change."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Iterable

import msgspec

from services.discovery.projection import Projection
from services.discovery.settings import DiscoverySettings
from shared.broker.tokens import join
from shared.kube.client import Bounds, Client
from shared.kube.informer import Informer
from shared.kube.resources import CLUSTERROLEBINDINGS, CLUSTERROLES, Resource
from shared.model.target import Workspace

MOST_ROLES = Bounds(objects=20_000, bytes=256 << 20)  # of one kind in one workspace; 0.5 KB each are kept
PROPAGATION = 1.0
"""Seconds from a change of RBAC until others are told of it. API servers follow RBAC by watching as well, so that one
may still answer by the old state while another has told us of the new one. Changes come in bursts, too."""


class _Meta(msgspec.Struct, rename="camel"):
    resource_version: str


class _Object(msgspec.Struct):
    metadata: _Meta


_OBJECT = msgspec.json.Decoder(_Object)


class Rbac:
    """The state of RBAC in each workspace, which `AccessReviews` remembers answers by.

    In a workspace that is followed, a change of ClusterRoles or ClusterRoleBindings is another state at once (a Role
    cannot give rights on what has no namespace). What decides elsewhere (a webhook; in kcp, the export's policy) takes
    until what is remembered has run out.

    Such a change is also recorded on the stored workspace (`Workspace.rbac`), so that the controller has placements
    tried again that wait. All copies of the worker derive the same record from the same objects, so one of them writes
    it, and none of them when it starts and nothing has changed. Answers are forgotten before that, and by copies that
    have not seen the change themselves, when they see the record.
    """

    def __init__(self, settings: DiscoverySettings, workspaces: Projection[Workspace]) -> None:
        self._settings = settings
        self._workspaces = workspaces
        self._changes: Counter[str] = Counter()

    async def follow(self, workspace: str, client: Client) -> None:
        """Follow RBAC of a workspace that has targets, and record its changes, until cancelled.

        Where that may not be watched it is tried again from time to time, and answers end by their time alone. Where
        nobody is asked, there is nothing to follow.
        """
        if self._settings.authorization == "AllowAll":
            return
        changed = asyncio.Event()
        informers = [self._informer(client, resource) for resource in (CLUSTERROLES, CLUSTERROLEBINDINGS)]
        async with asyncio.TaskGroup() as tasks:
            for informer in informers:
                tasks.create_task(self._count(workspace, informer, changed))
            while True:
                await changed.wait()
                await asyncio.sleep(PROPAGATION)
                changed.clear()
                if all(informer.synced.is_set() for informer in informers):
                    self._changes[workspace] += 1  # an answer since may have been by the old state
                    self._record(workspace, (each for informer in informers for each in informer.objects.values()))

    def _informer(self, client: Client, resource: Resource) -> Informer[str]:
        """Of an object, its version is all that is kept."""
        return Informer(
            client, resource, decode=_version, refused=self._settings.absent_retry_seconds, limit=MOST_ROLES
        )

    async def _count(self, workspace: str, informer: Informer[str], changed: asyncio.Event) -> None:
        async with informer:
            async for _ in informer.events():
                self._changes[workspace] += 1
                changed.set()

    def _record(self, workspace: str, versions: Iterable[str]) -> None:
        """Have the stored workspace say what state its RBAC is in. One that is not stored (yet) is news by itself."""
        rbac = hashlib.sha256(" ".join(sorted(versions)).encode()).hexdigest()[:16]

        def recorded(stored: Workspace | None) -> Workspace | None:
            return None if stored is None else msgspec.structs.replace(stored, rbac=rbac)

        key = join(workspace)
        self._workspaces.want(key, recorded(self._workspaces.latest(key)), recorded)

    def state(self, workspace: str) -> tuple[int, int]:
        """How new RBAC is as far as it is known here: by the changes seen, and by what any copy has recorded."""
        stored = self._workspaces.view.entries.get(join(workspace))
        return self._changes[workspace], stored.revision if stored is not None else 0


def _version(raw: bytes) -> str:
    return _OBJECT.decode(raw).metadata.resource_version
