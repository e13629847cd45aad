"""The hub: whether it answers, lets us in, and serves our kinds as this version has them."""

from collections.abc import Iterable
from typing import Any

from services.cli.diagnosing.faults import Checkup, FaultName, FoundFault, missing_fields, sorted_faults
from services.cli.hub.connection import explained
from shared.api import GROUP, VERSION
from shared.api.generate.crds import crd
from shared.api.resources import RESOURCES
from shared.hub.hub import HUB_WORKSPACE, Hub
from shared.hub.resources import SYNCTARGETS
from shared.kube.client import Client
from shared.kube.errors import ApiError, ConfigError, KubeError
from shared.kube.resources import CRDS

_OF_ACCESS: frozenset[FaultName] = frozenset({"HubKubeconfig", "HubUnreachable", "HubUnauthorized", "HubForbidden"})
MOST_FIELDS = 3
"""Fields that a message names of those that a definition lacks."""


def of_hub(error: KubeError, where: str) -> FoundFault:
    """The fault that an answer of the hub is."""
    name: FaultName = "HubUnreachable"
    if isinstance(error, ConfigError):
        name = "HubKubeconfig"
    elif isinstance(error, ApiError):
        name = "HubUnauthorized" if error.unauthorized else "HubForbidden" if error.forbidden else "HubUnreachable"
    return FoundFault(fault=name, where=where, message=explained(error))


async def examine(hub: Hub, workspaces: Iterable[str]) -> Checkup:
    """Whether it answers, and what is to be seen of these workspaces, each of which is to serve our kinds."""
    try:
        await hub.client.request("GET", "/version")
    except KubeError as error:
        return Checkup(part="hub", looked_at=1, faults=(of_hub(error, "the hub"),))
    faults: list[FoundFault] = []
    looked_at = 1
    for workspace in sorted({HUB_WORKSPACE} if hub.kind == "kubernetes" else set(workspaces)):
        looked_at += 1
        where = f"workspace {workspace}" if workspace else "the hub"
        try:
            faults += await _workspace(hub.at(workspace), where)
        except KubeError as error:
            faults.append(of_hub(error, where))
    return Checkup(part="hub", looked_at=looked_at, faults=sorted_faults(faults))


def answers_nobody(found: Checkup) -> bool:
    """Whether the hub is not to be asked any further."""
    return any(each.where == "the hub" and each.fault in _OF_ACCESS for each in found.faults)


async def _workspace(client: Client, where: str) -> list[FoundFault]:
    served = await _served(client)
    missing = sorted(each.plural for each in RESOURCES if each.plural not in served)
    if missing:
        message = f"{GROUP}/{VERSION} serves no {', '.join(missing)}"
        return [FoundFault(fault="CrdMissing", where=where, message=message)]
    await client.list(SYNCTARGETS)
    return await _outdated(client, where)


async def _served(client: Client) -> set[str]:
    """The plural names of our group that are served; none where the group is not."""
    import msgspec

    try:
        body = await client.request("GET", f"/apis/{GROUP}/{VERSION}")
    except ApiError as error:
        if error.not_found:
            return set()
        raise
    found: dict[str, Any] = msgspec.json.decode(body)
    return {str(each["name"]) for each in found.get("resources") or ()}


async def _outdated(client: Client, where: str) -> list[FoundFault]:
    """Definitions that lack fields of this version; nothing where definitions cannot be read, as in a workspace of kcp
    that has them from an APIExport."""
    found = []
    for resource in RESOURCES:
        wanted = crd(resource)
        name = wanted["metadata"]["name"]
        try:
            there = await client.get(CRDS, name)
        except ApiError as error:
            if error.not_found or error.forbidden:
                continue
            raise
        lacking = list(missing_fields(_schema(wanted), _schema(there)))
        if lacking:
            more = f" and {len(lacking) - MOST_FIELDS} more" if len(lacking) > MOST_FIELDS else ""
            message = f"{name} lacks {', '.join(lacking[:MOST_FIELDS])}{more}"
            found.append(FoundFault(fault="CrdOutdated", where=where, message=message))
    return found


def _schema(definition: dict[str, Any]) -> Any:
    versions = {each["name"]: each for each in definition["spec"]["versions"]}
    return versions.get(VERSION, {}).get("schema", {}).get("openAPIV3Schema", {})
