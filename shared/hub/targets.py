"""The way to target clusters: clients made from the kubeconfig Secrets, or ClusterProfiles, that SyncTargets refer to.

Whoever may write such a Secret or ClusterProfile chooses where our workers connect to, so the operator's settings bound
it. Where an agent beside the target carries its connections, the agent's own settings say where they lead.
"""

import asyncio
import base64
import binascii
import functools
import hashlib
import socket
import weakref
from dataclasses import dataclass, field
from typing import Protocol

from shared.aio.lru import Lru
from shared.broker.bus import BusError
from shared.hub import metering
from shared.hub.access_providers import AccessProviders
from shared.hub.hub import Hub
from shared.hub.identity import by_address, identify
from shared.hub.resources import CLUSTER_PROFILES
from shared.kube.addresses import Addresses, is_address, networks
from shared.kube.auth import kubeconfig
from shared.kube.client import Client
from shared.kube.errors import ApiError, ConfigError, NotAllowed, Unreachable
from shared.kube.http.origin import split
from shared.kube.resources import SECRETS
from shared.kube.transport import CONNECTIONS
from shared.model.target import KubeconfigRef, Target
from shared.process import audit
from shared.process.main import StartError


class Carrier(Protocol):
    """Ways to targets over the bus."""

    async def connect(self, tunnel: str) -> socket.socket:
        """A connected socket to the server behind a tunnel. Raises BusError."""
        ...


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

    def check_address(self, credentials: kubeconfig.Credentials) -> None:
        """Raises NotAllowed where the server is named by an address that may not be connected to: for whom already to
        ask for credentials there is too much."""
        host = split(credentials.server)[0].host
        if is_address(host) and not self.addresses.permit(host):
            raise NotAllowed("the server is at an address that targets may not have")


def check_for_tunnel(credentials: kubeconfig.Credentials) -> None:
    """Raises NotAllowed for credentials by which others than the target's server could read what an agent carries."""
    if not credentials.server.lower().startswith("https:") or credentials.insecure:
        raise NotAllowed(
            "an agent carries the connection, and the kubeconfig does not have the server prove who it is: by https,"
            " and without insecure-skip-tls-verify"
        )
    if credentials.proxy:
        raise NotAllowed("the kubeconfig names a proxy-url, and an agent carries the connection")


def perimeter(settings: _Settings) -> Perimeter:
    """Where the settings let clients of targets go. Raises StartError for networks that are none."""
    try:
        addresses = Addresses(networks(settings.target_allow), networks(settings.target_deny))
    except ValueError as error:
        raise StartError(f"settings target_allow and target_deny: {error}") from None
    return Perimeter(addresses, settings.target_plain_http, settings.target_proxy)


@dataclass(frozen=True, slots=True)
class _Way:
    """How a target is reached, as the hub has it now."""

    credentials: kubeconfig.Credentials
    version: str  # of the Secret, or of what the ClusterProfile says of access
    tunnel: str = ""  # that carries the connections; empty where they are made to the server

    def leads_as(self, other: "_Way") -> bool:
        """Whether a client that was made by the other one does."""
        return (self.credentials, self.tunnel) == (other.credentials, other.tunnel)


@dataclass(frozen=True, slots=True)
class _Known:
    """A client, what it is for, and what it was made from."""

    of: str
    cluster: str
    way: _Way
    client: Client


_NONE = AccessProviders()


class TargetClients:
    """Clients for target clusters, made from the kubeconfig Secrets or ClusterProfiles that SyncTargets refer to.

    At most `limit` are kept, the least recently used goes first. What is referred to is read again when discovery has
    seen another version of it, by which the inventory says so (`KubeconfigRef.version`), and after `renew`. A client is
    made anew where that says something else; who has the old one may go on with it.
    """

    def __init__(
        self,
        hub: Hub,
        *,
        user_agent: str,
        timeout: float,
        perimeter: Perimeter,
        providers: AccessProviders = _NONE,
        prove: bool = True,
        limit: int = 10_000,
        connections: int = CONNECTIONS,
        tunnels: Carrier | None = None,
    ) -> None:
        """`prove`: ask before all else whether it is the cluster that the inventory says. Discovery finds that out.

        `connections`: how many each client may have, for those that have clients of all targets. Without `tunnels`,
        targets are not reached whose connections an agent carries.
        """
        self._tunnels = tunnels
        self._prove = prove
        self._hub = hub
        self._perimeter = perimeter
        self._providers = providers
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
        the perimeter, and what reading it raises. The client raises NotAllowed as well, where it would connect.
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
                way = await self._way(target)
            except BaseException:
                self._outdated.add(target.id)
                raise
            known = self._clients.get(target.id)
            if known is not None and known.cluster == cluster and known.way.leads_as(way):
                client = known.client  # something else about it changed
            else:
                client = self._client(target, way)
                if known is not None:
                    self._retire(known.client)
            for idle in self._clients.put(target.id, _Known(of, cluster, way, client)):
                self._retire(idle.client)
        return client

    def leads_to(self, target: Target) -> bool:
        """Whether a target is reached at all by what the operator gave us: by no ClusterProfile without the list."""
        return bool(self._providers) or target.kubeconfig is None or not target.kubeconfig.profile

    def version(self, target: str) -> str:
        """Of which version of its Secret the client of a target id was made; empty where there is none."""
        known = self._clients.get(target)
        return known.way.version if known is not None else ""

    def renew(self, target: str) -> None:
        """Have the Secret of a target id looked at again: its credentials are refused, or nobody answers there."""
        self._outdated.add(target)

    def _retire(self, client: Client) -> None:
        client.retire()
        self._retired.add(client)

    async def _way(self, target: Target) -> _Way:
        """How the target is reached, by the object that it refers to."""
        ref = target.kubeconfig
        if ref is None:
            raise ConfigError(f"SyncTarget {target.id} has no kubeconfigSecretRef")
        try:
            return await (self._by_profile(target, ref) if ref.profile else self._by_secret(target, ref))
        except NotAllowed as error:
            self._note(target.id, str(error))
            raise

    async def _by_profile(self, target: Target, ref: KubeconfigRef) -> _Way:
        """By what the ClusterProfile of the target's own name says, within what the operator lists.

        The SyncTarget says nothing of it but the name, so that whoever may write it alone cannot say where to.
        """
        where = f"ClusterProfile {ref.namespace}/{ref.name} of workspace {target.workspace or 'hub'}"
        if target.agent:  # what the operator's programs issue goes to the operator's servers, and through nobody
            raise NotAllowed(f"SyncTarget {target.name} has an agent, which no access provider leads through")
        if not self._providers or ref.name != target.name:
            raise NotAllowed(f"the operator lets no access provider lead from {where} to SyncTarget {target.name}")
        try:
            profile = await self._hub.at(target.workspace).get(CLUSTER_PROFILES, ref.name, ref.namespace)
        except ApiError as error:
            if error.not_found:
                raise ConfigError(f"{where}, which SyncTarget {target.name} is of, does not exist") from None
            raise
        access = self._providers.access(target.workspace, ref.namespace, profile)
        if access is None:
            raise ConfigError(f"{where} names no access provider that the operator lists for it")
        credentials = access.credentials()
        self._perimeter.check_address(credentials)
        return _Way(credentials, access.version)

    async def _by_secret(self, target: Target, ref: KubeconfigRef) -> _Way:
        """By the kubeconfig in the Secret."""
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
        if target.agent:
            check_for_tunnel(credentials)
        else:
            self._perimeter.check(credentials)
        metadata = secret.get("metadata") or {}
        version = secret_version(str(metadata.get("uid", "")), str(metadata.get("resourceVersion", "")))
        return _Way(credentials, version, tunnel=target.tunnel)

    def _client(self, target: Target, way: _Way, *, proving: bool = False) -> Client:
        proof = functools.partial(self._proved, target, way) if self._prove and target.cluster else None
        return Client(
            way.credentials,
            user_agent=self._user_agent,
            timeout=self._timeout,
            permit=functools.partial(self._permit, target.id),
            proof=None if proving else proof,
            connections=self._connections,
            meter=metering.TARGET,
            connect=functools.partial(self._through, way.tunnel) if way.tunnel else None,
        )

    async def _through(self, tunnel: str) -> socket.socket:
        """A connection that the agent of a target carries: nowhere else, whatever the kubeconfig names."""
        if self._tunnels is None:
            raise Unreachable("its connections are carried by an agent, which only workers speak with")
        try:
            return await self._tunnels.connect(tunnel)
        except BusError as error:
            raise Unreachable(str(error)) from error

    async def _proved(self, target: Target, way: _Way) -> None:
        """Raises NotAllowed where the credentials lead to another cluster than discovery found by those it read.

        Whoever writes these could else show discovery one cluster, and have what is placed go to another.
        """
        async with self._client(target, way, proving=True) as asking:
            found = await identify(asking)
            if target.cluster == (found.uid or by_address(asking)):
                return
        self.renew(target.id)  # they may be others by the next time
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
    if ref is None:
        return hashlib.sha256(target.uid.encode()).hexdigest()
    parts = (target.uid, target.tunnel, ref.namespace, ref.name, ref.key, ref.version, str(ref.profile))
    text = "\0".join(parts)
    return hashlib.sha256(text.encode()).hexdigest()
