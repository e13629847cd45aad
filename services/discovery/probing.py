"""One look at a target cluster: does it answer, what does it have, what does it serve."""

import asyncio
import functools
import logging
import weakref
from collections.abc import Callable, Collection, Iterable
from typing import Any

import msgspec

from services.discovery.capacity.counting import NotCountable, count
from services.discovery.capacity.nodes import Node, Nodes, sum_nodes
from services.discovery.health import Health, Probe, Rules, observe
from services.discovery.inventory import ClusterFacts
from services.discovery.settings import DiscoverySettings
from shared.hub.identity import ClusterIdentity, by_address, identify
from shared.hub.targets import TargetClients
from shared.hub.terms import claim_of, is_free, is_made_by_us, is_protected
from shared.kube.apis import Served, discover
from shared.kube.client import Bounds, Client
from shared.kube.errors import MALFORMED, ApiError, ConfigError, KubeError, NotAllowed, Unreachable
from shared.kube.resources import NAMESPACES, NODES
from shared.kube.text import told
from shared.model.refs import PlacementRef
from shared.model.target import ApiKind, Target

log = logging.getLogger("moorage.discovery")

NO_KUBECONFIG = "without a usable kubeconfig"
NOT_ALLOWED = "at an address that is not allowed"
CREDENTIALS_REFUSED = "refusing our credentials"

# What is taken of a target's server, which is not trusted: it could go on for ever.
LONGEST_READ = 30.0  # seconds for its nodes, APIs and version together
LONGEST_COUNT = 30.0  # seconds for its pods after that
LARGEST_BODY = 32 << 20  # bytes of one answer
MOST_NODES = Bounds(objects=20_000, bytes=512 << 20)  # a node has 5 to 25 KB; Kubernetes is tested to 5,000 of them
MOST_NAMESPACES = Bounds(objects=20_000, bytes=128 << 20)
MOST_UNUSED = 100  # namespaces of a target that are said to be unused at a time
MOST_CLAIMS = 1_000  # namespaces of a target that the inventory knows; of more, binding alone knows whose they are
_LONGEST_VERSION = 63  # bytes; by the schema of SyncTarget


class _Refused(Exception):
    """The server does not know us: /readyz may be open to everybody, nodes are not."""


class _Version(msgspec.Struct, rename="camel"):
    git_version: str = ""


class Prober:
    """Looks at targets; each look takes as many requests as are due."""

    def __init__(
        self,
        clients: TargetClients,
        settings: DiscoverySettings,
        clock: Callable[[], float],
        reserved: Callable[[str], Collection[PlacementRef] | None],
    ) -> None:
        """`reserved`: which placements have a reservation in a target (by id); None while that is not known."""
        self._reserved = reserved
        self._clients = clients
        self._settings = settings
        self._clock = clock
        self._rules = Rules(settings.lost_after_seconds, settings.refused_limit)
        self._known: weakref.WeakSet[Client] = weakref.WeakSet()  # by which all was read once: another reads it again
        self._identified: weakref.WeakSet[Client] = weakref.WeakSet()  # of which it is known what cluster they reach

    async def look(self, target: Target, health: Health, *, nodes: bool, apis: bool) -> ClusterFacts | None:
        """What is seen of `target`, nodes and APIs where asked for; None when the hub kept us from looking at all."""
        try:
            client = await self._clients.get(target)
        except NotAllowed as error:
            return ClusterFacts(health=self._judge(health, Probe("unusable", problem=NOT_ALLOWED, detail=str(error))))
        except (ConfigError, ApiError, ValueError) as error:
            if isinstance(error, ApiError) and (error.transient or error.unknown_workspace):
                return None
            return ClusterFacts(health=self._judge(health, Probe("unusable", problem=NO_KUBECONFIG, detail=str(error))))
        except KubeError:
            return None
        probe = await self._probe(client)
        judged = self._judge(health, probe)
        seen = ClusterFacts(health=judged)
        try:
            if probe.outcome == "answered":
                back = health.lost_since > 0 or client not in self._known
                async with asyncio.timeout(LONGEST_READ):
                    seen = await self._read(client, target, judged, nodes=nodes or back, apis=apis or back)
                self._known.add(client)
                if nodes or back:
                    seen = await self._counted(client, target, seen)
        except TimeoutError:
            log.warning("target not read in time", extra={"target": target.id, "timeout": LONGEST_READ})
            seen = ClusterFacts(health=judged, slow=True)
        except _Refused as error:
            probe = Probe("unusable", problem=CREDENTIALS_REFUSED, detail=str(error))
            seen = ClusterFacts(health=self._judge(judged, probe))
        if probe.outcome != "answered":
            self._clients.renew(target.id)  # its Secret may say something else by now
        return seen

    async def _read(self, client: Client, target: Target, health: Health, *, nodes: bool, apis: bool) -> ClusterFacts:
        unknown = apis or not target.cluster or client not in self._identified
        known, client = client, client.bounded(LARGEST_BODY)
        found, spaces, served, version, identity = await asyncio.gather(
            self._nodes(client, target) if nodes else _nothing(),
            self._namespaces(client, target) if nodes else _nothing(),
            self._apis(client, target) if apis else _nothing(),
            self._version(client) if apis else _nothing(),
            self._cluster(client, target) if unknown else _nothing(),
        )
        credentials = ""
        if identity is not None and identity.uid:
            self._identified.add(known)
            credentials = self._clients.version(target.id)
        kinds, problem = (None, "") if served is None else _kinds(served, target)
        return ClusterFacts(
            health=health,
            nodes=found,
            claims=None if spaces is None or target.terms.per_workspace else _claims(spaces, target),
            made=None if spaces is None else frozenset(_name(each) for each in spaces if is_made_by_us(each)),
            apis=kinds,
            api_problem=problem,
            kubernetes_version=version or "",
            cluster=None if identity is None else identity.uid,
            cluster_problem="" if identity is None else identity.problem,
            credentials=credentials,
        )

    async def _counted(self, client: Client, target: Target, seen: ClusterFacts) -> ClusterFacts:
        """What was seen, and what the pods ask for."""
        usable = seen.nodes.usable if seen.nodes is not None else None
        kinds = seen.apis if seen.apis is not None else target.apis
        try:
            async with asyncio.timeout(LONGEST_COUNT):
                reserved = functools.partial(self._reserved, target.id)
                counted = await count(client.bounded(LARGEST_BODY), usable, kinds, reserved)
        except (NotCountable, TimeoutError) as error:
            why = str(error) or f"its pods could not be read within {LONGEST_COUNT:g} s"
            return msgspec.structs.replace(seen, allocated_problem=why)
        except KubeError as error:
            if isinstance(error, ApiError) and error.unauthorized:
                raise _Refused(str(error)) from None
            log.info("pods not read", extra={"target": target.id, "error": str(error)})
            return seen
        unused = None if seen.made is None else tuple(sorted(seen.made - counted.namespaces))[:MOST_UNUSED]
        return msgspec.structs.replace(seen, allocated=counted.others, strays=counted.strays, unused=unused)

    def _judge(self, health: Health, probe: Probe) -> Health:
        return observe(health, probe, self._clock(), self._rules)

    async def _probe(self, client: Client) -> Probe:
        """Ask for /readyz. A server that answers 4xx serves no such path (to us), but it serves."""
        begun = asyncio.get_running_loop().time()
        try:
            await client.request("GET", "/readyz", timeout=self._settings.probe_timeout_seconds)
        except ApiError as error:
            if error.unauthorized:
                return Probe("unusable", problem=CREDENTIALS_REFUSED, detail=str(error))
            if error.status >= 500:
                return Probe("failed", detail=str(error))
        except Unreachable as error:
            return Probe("refused" if _refused(error) else "failed", detail=str(error))
        except NotAllowed as error:
            return Probe("unusable", problem=NOT_ALLOWED, detail=str(error))
        except ConfigError as error:
            return Probe("unusable", problem=NO_KUBECONFIG, detail=str(error))
        return Probe("answered", latency=1000 * (asyncio.get_running_loop().time() - begun))

    async def _nodes(self, client: Client, target: Target) -> Nodes | None:
        try:
            return sum_nodes((await client.list(NODES, bounds=MOST_NODES, type=Node)).items)
        except KubeError as error:
            if isinstance(error, ApiError) and error.unauthorized:
                raise _Refused(str(error)) from None
            log.info("nodes not read", extra={"target": target.id, "error": str(error)})
            return None

    async def _namespaces(self, client: Client, target: Target) -> list[dict[str, Any]] | None:
        """All of them. Where they cannot be read, binding alone finds out whose they are, when it applies."""
        try:
            return (await client.list(NAMESPACES, bounds=MOST_NAMESPACES)).items
        except KubeError as error:
            log.info("namespaces not read", extra={"target": target.id, "error": str(error)})
            return None

    async def _apis(self, client: Client, target: Target) -> Served | None:
        try:
            return await discover(client)
        except KubeError as error:
            log.info("APIs not read", extra={"target": target.id, "error": str(error)})
            return None

    async def _cluster(self, client: Client, target: Target) -> ClusterIdentity | None:
        """Which cluster it is; None where that could not be found out this time."""
        try:
            found = await identify(client)
        except KubeError as error:
            if isinstance(error, ApiError) and error.unauthorized:
                raise _Refused(str(error)) from None
            log.info("cluster not identified", extra={"target": target.id, "error": str(error)})
            return None
        if not found.uid and self._settings.cluster_identity == "KubeSystemOrAddress":
            return found._replace(uid=by_address(client))
        return found

    async def _version(self, client: Client) -> str | None:
        try:
            raw = await client.request("GET", "/version")
            return told(msgspec.json.decode(raw, type=_Version).git_version, _LONGEST_VERSION)
        except (KubeError, *MALFORMED):
            return None


def _claims(namespaces: Iterable[dict[str, Any]], target: Target) -> dict[str, str | None]:
    """Whose the namespaces are."""
    found = {_name(each): claim_of(each) for each in namespaces if not is_free(each)}
    named = sorted(name for name in found if name and not is_protected(target.terms, name))
    return {name: found[name] for name in named[:MOST_CLAIMS]}


def _name(namespace: dict[str, Any]) -> str:
    return str(namespace["metadata"].get("name", ""))


async def _nothing() -> None:
    return None


def _kinds(served: Served, target: Target) -> tuple[tuple[ApiKind, ...], str]:
    """What can be placed there. Of a group that could not be read, what was known of it still holds."""
    kinds = [
        ApiKind(
            group=kind.group, resource=kind.resource, kind=kind.kind, versions=kind.versions, namespaced=kind.namespaced
        )
        for kind in served.kinds
        if {"create", "get"} <= set(kind.verbs)
    ]
    read = {(kind.group, kind.resource) for kind in kinds}
    kinds += [
        known for known in target.apis if known.group in served.broken and (known.group, known.resource) not in read
    ]
    problem = "; ".join(f"{group or 'core'}: {why}" for group, why in sorted(served.broken.items()))
    return tuple(sorted(kinds, key=lambda kind: (kind.group, kind.resource))), problem


def _refused(error: BaseException | None) -> bool:
    """Whether a refused connection is at the bottom of this."""
    while error is not None:
        if isinstance(error, ConnectionRefusedError):
            return True
        error = error.__cause__
    return False
