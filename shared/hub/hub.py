"""The hub: the API server (or kcp) that holds Placements, SyncTargets and workloads, and the way to target clusters."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal, Protocol

from shared.hub import metering
from shared.hub.export import Consuming, Export, export_of
from shared.hub.resources import WORKSPACES
from shared.kube.auth import kubeconfig
from shared.kube.client import Client
from shared.kube.errors import ApiError, ConfigError

HUB_WORKSPACE = ""
"""The one workspace of a hub without workspaces."""


class _Settings(Protocol):
    @property
    def kubeconfig(self) -> str: ...
    @property
    def hub(self) -> Literal["kcp", "kubernetes"]: ...
    @property
    def export(self) -> str: ...
    @property
    def api_timeout_seconds(self) -> float: ...


class Hub:
    """A client per workspace, all on one session.

    With an `export`, our kinds are those that came to a workspace by it, and no others of the same names: each client
    reads them through it, and of a workspace that has not bound it there are none.
    """

    def __init__(self, client: Client, kind: Literal["kcp", "kubernetes"], export: Export | None = None) -> None:
        self.client = client
        self.kind = kind
        self.export = export

    def at(self, workspace: str, cluster: str = "") -> Client:
        """The client of one workspace, known to be this logical cluster; on plain Kubernetes there is only the unnamed
        one.

        Raises ValueError for what is no workspace path.
        """
        if self.kind == "kubernetes":
            return self.client
        found = self.client.cluster(cluster or workspace)
        return found if self.export is None else found.routed(Consuming(self.export, workspace))

    async def has_left(self, workspace: str) -> bool:
        """True if a workspace has none of our kinds for certain: it is gone, or has not bound the export that they come
        by. Raises KubeError when there is no answer."""
        if self.export is not None and self.export.whole and workspace not in self.export.consumers:
            return True
        return await self.is_gone(workspace)

    async def is_gone(self, workspace: str) -> bool:
        """True if there is no such workspace for certain: an API server that knows says so now.

        What a workspace that does not exist answers is no proof: by its id 403, as one does that we may not enter; by
        its path 404, as one does that kcp has not heard of yet. Its parent is asked instead: a 404 that names the
        Workspace is proof (one that names nothing may mean that the kind is not served, one that names a path that the
        parent is not known). A parent that refuses us may be gone itself, and takes with it what is below. Nobody can
        say so of a root, nor of the one workspace of plain Kubernetes. Raises KubeError when there is no answer.
        """
        parent, _, name = workspace.rpartition(":")
        if self.kind == "kubernetes" or not parent:
            return False
        try:
            await self.at(parent).get(WORKSPACES, name)
        except ApiError as error:
            if error.absent(name):
                return True
            if error.forbidden or error.not_found:
                return await self.is_gone(parent)
            raise
        return False


@asynccontextmanager
async def open_hub(settings: _Settings, user_agent: str) -> AsyncIterator[Hub]:
    """The hub that the settings name. Raises ConfigError when there are no usable credentials."""
    found = kubeconfig.load_kubeconfig(Path(settings.kubeconfig)) if settings.kubeconfig else kubeconfig.default()
    timeout = settings.api_timeout_seconds
    async with Client(found, user_agent=user_agent, timeout=timeout, meter=metering.HUB) as client:
        if not settings.export or settings.hub == "kubernetes":
            yield Hub(client, settings.hub)
            return
        try:
            workspace, name = export_of(settings.export)
        except ValueError as error:
            raise ConfigError(f"setting export: {error}") from None
        async with Export(client, workspace, name) as export:
            await export.await_whole(timeout)
            yield Hub(client, settings.hub, export)
