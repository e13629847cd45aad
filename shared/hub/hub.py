"""The hub: the API server (or kcp) that holds Placements, SyncTargets and workloads, and the way to target clusters."""

import asyncio
import base64
import binascii
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal, Protocol

from shared.kube.auth import kubeconfig
from shared.kube.client import Client
from shared.kube.errors import ApiError, ConfigError
from shared.kube.resources import SECRETS, WORKSPACES
from shared.model.model import Target

HUB_WORKSPACE = ""
"""The one workspace of a hub without workspaces."""


class _Settings(Protocol):
    @property
    def kubeconfig(self) -> str: ...
    @property
    def hub(self) -> Literal["kcp", "kubernetes"]: ...
    @property
    def api_timeout_seconds(self) -> float: ...


class Hub:
    """A client per workspace, all on one session."""

    def __init__(self, client: Client, kind: Literal["kcp", "kubernetes"]) -> None:
        self.client = client
        self.kind = kind

    def at(self, workspace: str) -> Client:
        """The client of one workspace; on plain Kubernetes there is only the unnamed one.

        Raises ValueError for what is no workspace path.
        """
        return self.client if self.kind == "kubernetes" else self.client.cluster(workspace)

    async def is_gone(self, workspace: str) -> bool:
        """Whether there is no such workspace for certain: an API server that knows says so now.

        A workspace that does not exist answers 403, as one does that we may not enter. Its parent is asked instead: a
        404 that names the workspace is proof (one that names nothing may mean that the kind is not served). A parent
        that refuses us may be gone itself, and takes with it what is below. Nobody can say so of a root, nor of the one
        workspace of plain Kubernetes. Raises KubeError when there is no answer.
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
    async with Client(found, user_agent=user_agent, timeout=settings.api_timeout_seconds) as client:
        yield Hub(client, settings.hub)


class TargetClients:
    """Clients for target clusters, made from the kubeconfig Secrets that SyncTargets refer to.

    At most `limit` are kept, the least recently used goes first. A client is made anew when its Secret changed, which
    is looked at after `forget` (call it when the target answers 401).
    """

    def __init__(self, hub: Hub, *, user_agent: str, timeout: float, limit: int = 10_000) -> None:
        self._hub = hub
        self._user_agent = user_agent
        self._timeout = timeout
        self._limit = limit
        self._clients: OrderedDict[str, tuple[str, Client]] = OrderedDict()
        self._locks = tuple(asyncio.Lock() for _ in range(64))

    async def get(self, target: Target) -> Client:
        """The client of a target.

        Raises ConfigError where it has no usable kubeconfig (says which Secret), and what reading the Secret raises.
        """
        key = _identity(target)
        found = self._clients.get(target.id)
        if found is not None and found[0] == key:
            self._clients.move_to_end(target.id)
            return found[1]
        async with self._locks[hash(target.id) % len(self._locks)]:
            found = self._clients.get(target.id)
            if found is not None and found[0] == key:
                return found[1]
            client = Client(await self._credentials(target), user_agent=self._user_agent, timeout=self._timeout)
            await self.forget(target.id)
            self._clients[target.id] = (key, client)
        while len(self._clients) > self._limit:
            await self.forget(next(iter(self._clients)))
        return client

    async def _credentials(self, target: Target) -> kubeconfig.Credentials:
        ref = target.kubeconfig
        if ref is None:
            raise ConfigError(f"SyncTarget {target.id} has no kubeconfigSecretRef")
        where = f"Secret {ref.namespace}/{ref.name} of workspace {target.workspace or 'hub'}"
        try:
            secret = await self._hub.at(target.workspace).get(SECRETS, ref.name, ref.namespace)
        except ApiError as error:
            if error.not_found:
                raise ConfigError(f"{where}, which SyncTarget {target.name} refers to, does not exist") from None
            raise
        encoded = (secret.get("data") or {}).get(ref.key)
        if not encoded:
            raise ConfigError(f"{where} has no key {ref.key}")
        # The line break makes it content in any case: a tenant's Secret must not name a file of ours.
        return kubeconfig.load_kubeconfig(_decoded(encoded, where) + b"\n")

    async def forget(self, target: str) -> None:
        """Drop the client of a target id; the next `get` reads its Secret again."""
        found = self._clients.pop(target, None)
        if found is not None:
            await found[1].close()

    async def close(self) -> None:
        """Close all clients."""
        for target in list(self._clients):
            await self.forget(target)


def _decoded(encoded: str, where: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise ConfigError(f"{where} is not base64") from None


def _identity(target: Target) -> str:
    """What a client depends on: another SyncTarget object, or another Secret, is another client."""
    ref = target.kubeconfig
    text = f"{target.uid}\0{ref.namespace}\0{ref.name}\0{ref.key}" if ref else target.uid
    return hashlib.sha256(text.encode()).hexdigest()
