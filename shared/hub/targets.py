"""The way to target clusters: clients made from the kubeconfig Secrets that SyncTargets refer to.

Whoever may write such a Secret chooses where our workers connect to, so the operator's settings bound it.
"""

import asyncio
import base64
import binascii
import functools
import hashlib
import weakref
from dataclasses import dataclass, field
from typing import Protocol

from shared.aio.lru import Lru
from shared.hub import metering
from shared.hub.hub import Hub
from shared.hub.identity import by_address, identify
from shared.kube.addresses import Addresses, networks
from shared.kube.auth import kubeconfig
from shared.kube.client import Client
from shared.kube.errors import ApiError, ConfigError, NotAllowed
from shared.kube.resources import SECRETS
from shared.kube.transport import CONNECTIONS
from shared.model.target import Target
from shared.process import audit
from shared.process.main import StartError


class _Settings(Protocol):
    @property
    def target_allow(self) -> str: ...
    @property
    def target_deny(self) -> str: ...
    @property
    def target_plain_http(self) -> bool: ...
    @property
    def target_proxy(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Perimeter:
    """Where clients of targets may go: to which addresses, over plain HTTP, and through a proxy."""

    addresses: Addresses = field(default_factory=Addresses)
    plain_http: bool = False
    proxy: bool = False

    def check(self, credentials: kubeconfig.Credentials) -> None:
        """Raises NotAllowed for what the credentials may not say. Addresses are judged when they are connected to."""
        if not self.plain_http and not credentials.server.lower().startswith("https:"):
            raise NotAllowed("the server of the kubeconfig is not https, which the operator does not allow")
        if credentials.proxy and not self.proxy:
            raise NotAllowed("the kubeconfig names a proxy-url, which the operator does not allow")


def perimeter(settings: _Settings) -> Perimeter:
    """Where the settings let clients of targets go. Raises StartError for networks that are none."""
    try:
        addresses = Addresses(networks(settings.target_allow), networks(settings.target_deny))
    except ValueError as error:
        raise StartError(f"settings target_allow and target_deny: {error}") from None
    return Perimeter(addresses, settings.target_plain_http, settings.target_proxy)


@dataclass(frozen=True, slots=True)
class _Known:
    """A client, what it is for, and what it was made from."""

    of: str
    cluster: str
    credentials: kubeconfig.Credentials
    version: str  # of the Secret
    client: Client


class TargetClients:
    """Clients for target clusters, made from the kubeconfig Secrets that SyncTargets refer to.

    At most `limit` are kept, the least recently used goes first. The Secret is read again when discovery has seen
    another version of it, by which the inventory says so (`KubeconfigRef.version`), and after `renew`. A client is made
    anew where that says something else; who has the old one may go on with it.
    """

    def __init__(
        self,
        hub: Hub,
        *,
        user_agent: str,
        timeout: float,
        perimeter: Perimeter,
        prove: bool = True,
        limit: int = 10_000,
        connections: int = CONNECTIONS,
    ) -> None:
        """`prove`: ask before all else whether it is the cluster that the inventory says. Discovery finds that out.

        `connections`: how many each client may have, for those that have clients of all targets.
        """
        self._prove = prove
        self._hub = hub
        self._perimeter = perimeter
        self._noted: Lru[str, str] = Lru(limit)  # the last refusal of each target, so that it is told once
        self._user_agent = user_agent
        self._timeout = timeout
        self._connections = connections
        self._clients: Lru[str, _Known] = Lru(limit)
        self._outdated: set[str] = set()  # targets whose Secret is to be read again
        self._retired: weakref.WeakSet[Client] = weakref.WeakSet()
        self._locks = tuple(asyncio.Lock() for _ in range(64))

    async def get(self, target: Target) -> Client:
        """The client of a target.

        Raises ConfigError where it has no usable kubeconfig (says which Secret), NotAllowed where that leads outside of
        the perimeter, and what reading the Secret raises. The client raises NotAllowed as well, where it would connect.
        """
        of, cluster = _identity(target), target.cluster if self._prove else ""

        def fitting() -> Client | None:
            known = self._clients.get(target.id)
            if known is None or target.id in self._outdated or (known.of, known.cluster) != (of, cluster):
                return None
            return known.client

        if (client := fitting()) is not None:
            return client
        async with self._locks[hash(target.id) % len(self._locks)]:
            if (client := fitting()) is not None:
                return client
            self._outdated.discard(target.id)
            try:
                credentials, version = await self._credentials(target)
            except BaseException:
                self._outdated.add(target.id)
                raise
            known = self._clients.get(target.id)
            if known is not None and (known.credentials, known.cluster) == (credentials, cluster):
                client = known.client  # something else about it changed
            else:
                client = self._client(target, credentials)
                if known is not None:
                    self._retire(known.client)
            for idle in self._clients.put(target.id, _Known(of, cluster, credentials, version, client)):
                self._retire(idle.client)
        return client

    def version(self, target: str) -> str:
        """Of which version of its Secret the client of a target id was made; empty where there is none."""
        known = self._clients.get(target)
        return known.version if known is not None else ""

    def renew(self, target: str) -> None:
        """Have the Secret of a target id looked at again: its credentials are refused, or nobody answers there."""
        self._outdated.add(target)

    def _retire(self, client: Client) -> None:
        client.retire()
        self._retired.add(client)

    async def _credentials(self, target: Target) -> tuple[kubeconfig.Credentials, str]:
        """What the Secret says, and in which version."""
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
        credentials = kubeconfig.load_kubeconfig(_decoded(encoded, where) + b"\n")
        try:
            self._perimeter.check(credentials)
        except NotAllowed as error:
            self._note(target.id, str(error))
            raise
        metadata = secret.get("metadata") or {}
        return credentials, secret_version(str(metadata.get("uid", "")), str(metadata.get("resourceVersion", "")))

    def _client(self, target: Target, credentials: kubeconfig.Credentials, *, proving: bool = False) -> Client:
        proof = functools.partial(self._proved, target, credentials) if self._prove and target.cluster else None
        return Client(
            credentials,
            user_agent=self._user_agent,
            timeout=self._timeout,
            permit=functools.partial(self._permit, target.id),
            proof=None if proving else proof,
            connections=self._connections,
            meter=metering.TARGET,
        )

    async def _proved(self, target: Target, credentials: kubeconfig.Credentials) -> None:
        """Raises NotAllowed where the credentials lead to another cluster than discovery found by those it read.

        Whoever writes the Secret could else show discovery one cluster, and have what is placed go to another.
        """
        async with self._client(target, credentials, proving=True) as asking:
            found = await identify(asking)
            if target.cluster == (found.uid or by_address(asking)):
                return
        self.renew(target.id)  # its Secret may be another one by the next time
        self._note(target.id, f"it is not the cluster {target.cluster}", "AnotherCluster")
        raise NotAllowed("the kubeconfig leads to another cluster than it did")

    def _permit(self, target: str, address: str) -> bool:
        if self._perimeter.addresses.permit(address):
            return True
        self._note(target, f"its server is at {address}")
        return False

    def _note(self, target: str, why: str, reason: audit.Reason = "AddressNotAllowed") -> None:
        """Have it in the audit log: it is tried again and again, and is news only once."""
        if self._noted.get(target) != why:
            self._noted.put(target, why)
            audit.refused(reason, target=target, why=why)

    async def forget(self, target: str) -> None:
        """Drop the client of a target id that is no more."""
        self._outdated.discard(target)
        known = self._clients.pop(target)
        if known is not None:
            await known.client.close()

    async def close(self) -> None:
        """Close all clients."""
        for target in list(self._clients):
            await self.forget(target)
        for client in list(self._retired):
            await client.close()


def secret_version(uid: str, resource_version: str) -> str:
    """What tells one content of a Secret from any other, of the same name as well."""
    return f"{uid}/{resource_version}"


def _decoded(encoded: str, where: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise ConfigError(f"{where} is not base64") from None


def _identity(target: Target) -> str:
    """What a client is for: another SyncTarget object, another Secret, or another version of it, is another thing."""
    ref = target.kubeconfig
    text = f"{target.uid}\0{ref.namespace}\0{ref.name}\0{ref.key}\0{ref.version}" if ref else target.uid
    return hashlib.sha256(text.encode()).hexdigest()
