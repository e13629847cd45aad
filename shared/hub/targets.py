"""The way to target clusters: clients made from the kubeconfig Secrets that SyncTargets refer to."""

import asyncio
import base64
import binascii
import hashlib

from shared.aio.lru import Lru
from shared.hub.hub import Hub
from shared.kube.auth import kubeconfig
from shared.kube.client import Client
from shared.kube.errors import ApiError, ConfigError
from shared.kube.resources import SECRETS
from shared.model.target import Target


class TargetClients:
    """Clients for target clusters, made from the kubeconfig Secrets that SyncTargets refer to.

    At most `limit` are kept, the least recently used goes first. A client is made anew when its Secret changed, which
    is looked at after `forget` (call it when the target answers 401).
    """

    def __init__(self, hub: Hub, *, user_agent: str, timeout: float, limit: int = 10_000) -> None:
        self._hub = hub
        self._user_agent = user_agent
        self._timeout = timeout
        self._clients: Lru[str, tuple[str, Client]] = Lru(limit)
        self._locks = tuple(asyncio.Lock() for _ in range(64))

    async def get(self, target: Target) -> Client:
        """The client of a target.

        Raises ConfigError where it has no usable kubeconfig (says which Secret), and what reading the Secret raises.
        """
        key = _identity(target)
        found = self._clients.get(target.id)
        if found is not None and found[0] == key:
            return found[1]
        async with self._locks[hash(target.id) % len(self._locks)]:
            found = self._clients.get(target.id)
            if found is not None and found[0] == key:
                return found[1]
            client = Client(await self._credentials(target), user_agent=self._user_agent, timeout=self._timeout)
            await self.forget(target.id)
            for _, idle in self._clients.put(target.id, (key, client)):
                await idle.close()
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
        found = self._clients.pop(target)
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
