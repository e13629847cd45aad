"""The labels of workspaces and namespaces, where policies choose placements by them."""

import asyncio
from collections.abc import Callable, Sequence

from shared.hub.holding import goes_by_namespaces, labels_for
from shared.hub.namespaces import namespace_labels
from shared.kube.client import Client
from shared.kube.errors import ApiError, KubeError
from shared.kube.informer import Informer
from shared.kube.resources import NAMESPACES
from shared.model.policy import PolicyEntry
from shared.model.refs import PlacementRef
from shared.model.request import ScopeLabels
from shared.model.target import Workspace


class NamespaceWatch:
    """Follows the labels of a workspace's namespaces, from when they are first asked for.

    `changed` hears of each namespace that has others. `run` must be running.
    """

    def __init__(self, client: Client, changed: Callable[[str], None]) -> None:
        self._changed = changed
        self._informer = Informer(client, NAMESPACES, decode=namespace_labels, metadata=True, on_error=self._failed)
        self._wanted = asyncio.Event()
        self._tried = asyncio.Event()

    async def run(self) -> None:
        """Follow until cancelled."""
        await self._wanted.wait()
        async with self._informer:
            async for change in self._informer.events():
                if change.kind == "Synced":
                    self._tried.set()
                elif self._tried.is_set() and change.object != change.old:
                    self._changed(change.key[1])

    async def labels(self, namespace: str, timeout: float) -> dict[str, str] | None:
        """The labels of a namespace; None where it is not there, or we are not let read it.

        Raises TimeoutError where they are not known within `timeout` seconds for any other reason.
        """
        self._wanted.set()
        async with asyncio.timeout(timeout):
            await self._tried.wait()
        return self._informer.objects.get(("", namespace))

    def _failed(self, error: KubeError) -> None:
        if isinstance(error, ApiError) and (error.forbidden or error.not_found):
            self._tried.set()


async def scope_labels(
    ref: PlacementRef,
    policies: Sequence[PolicyEntry],
    workspace: Callable[[str], Workspace | None],
    namespaces: NamespaceWatch,
    timeout: float,
) -> ScopeLabels:
    """The labels by which any of these policies may choose a placement; none where no policy goes by any.

    `workspace` knows workspaces by path. Raises TimeoutError, see `NamespaceWatch.labels`.
    """
    labels = await namespaces.labels(ref.namespace, timeout) if goes_by_namespaces(policies) else None
    return labels_for(policies, ref.workspace, workspace, labels)
