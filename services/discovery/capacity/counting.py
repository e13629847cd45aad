"""Reads of a target what its pods ask for, but for those of what Moorage placed there (ADR 7)."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping
from contextlib import aclosing

from services.discovery.capacity.pods import Link, Metadata, Owner, Partial, Pod, PodRequests, TooManyOwners, others
from shared.hub.names import SYSTEM_NAMESPACE
from shared.kube.applyset import APPLYSET_ID, APPLYSET_NAMESPACES
from shared.kube.client import Bounds, Client
from shared.kube.errors import ApiError
from shared.kube.resources import CONFIGMAPS, PODS, Resource
from shared.kube.transport import TooLarge
from shared.model.resources import Resources
from shared.model.target import ApiKind

PAGE = 250  # pods; a page is about 2 MB, and as many targets are read at once as are probed at once
MOST_PODS = Bounds(objects=200_000, bytes=4 << 30)  # Kubernetes is tested to 150,000 in a cluster
MOST_OWNERS_READ = Bounds(objects=50_000, bytes=512 << 20)  # of one kind in one namespace; and ApplySets
MOST_COLLECTIONS = 2_000  # kinds times namespaces in which owners are looked for
_IN_FLIGHT = 8  # of these at once
_NOT_OVER = "status.phase!=Succeeded,status.phase!=Failed"


class NotCountable(Exception):
    """The pods cannot be counted, for a reason that lasts; the message says which."""


async def count(client: Client, nodes: Collection[str] | None, kinds: Iterable[ApiKind]) -> Resources:
    """What the pods on these nodes (None: on any), and those that wait for one, ask for; without Moorage's own.

    Pods are read first, then ApplySets, then owners: each was there before what it explains, so that nothing of ours
    is taken for others' because it came just now. What left in between counts as others': it still takes room.
    Raises NotCountable, and ApiError or Unreachable for what may pass.
    """
    served = {
        (kind.group, kind.kind): Resource(kind.group, kind.versions[0], kind.resource, kind=kind.kind)
        for kind in kinds
        if kind.namespaced and kind.versions
    }
    try:
        tally = PodRequests(nodes)
        pods = client.pages(PODS, field_selector=_NOT_OVER, limit=PAGE, bounds=MOST_PODS, type=Pod)
        async with aclosing(pods):
            async for page in pods:
                for pod in page.items:
                    tally.add(pod)
        applysets, namespaces = await _applysets(client)
        links = await _lineage(client, tally.sums, namespaces, served) if applysets else {}
    except ApiError as error:
        if error.forbidden or error.not_found:
            raise NotCountable(str(error)) from None
        raise
    except (TooLarge, TooManyOwners) as error:
        raise NotCountable(str(error)) from None
    return others(tally.sums, links, applysets)


async def _applysets(client: Client) -> tuple[set[str], set[str]]:
    """The ids of what Moorage placed in this target, and the namespaces that it is in."""
    ids: set[str] = set()
    namespaces = {SYSTEM_NAMESPACE}
    async for parent in _partials(client, CONFIGMAPS, SYSTEM_NAMESPACE, APPLYSET_ID):
        ids.add((parent.labels or {}).get(APPLYSET_ID, ""))
        namespaces |= set((parent.annotations or {}).get(APPLYSET_NAMESPACES, "").split(","))
    return ids, namespaces - {""}


async def _lineage(
    client: Client, found: Iterable[Link], namespaces: Collection[str], served: Mapping[tuple[str, str], Resource]
) -> dict[str, Link]:
    """Owners, and owners of owners, in the namespaces in which something is placed, by uid.

    A kind that has no namespaces, or is not served, is nothing that Moorage places, and nothing placed owns it.
    """
    links: dict[str, Link] = {}
    room = asyncio.Semaphore(_IN_FLIGHT)

    async def read(resource: Resource, namespace: str) -> list[Link]:
        async with room:
            owners = {each.uid: each.link async for each in _partials(client, resource, namespace)}
        links.update(owners)
        return list(owners.values())

    seen: set[tuple[str, str, str]] = set()
    while due := {_place(link.owner) for link in found if link.owner and link.owner.namespace in namespaces} - seen:
        seen |= due
        if len(seen) > MOST_COLLECTIONS:
            raise NotCountable(f"owners of its pods are of more than {MOST_COLLECTIONS} kinds and namespaces")
        try:
            async with asyncio.TaskGroup() as tasks:
                reading = [
                    tasks.create_task(read(served[group, kind], namespace))
                    for namespace, group, kind in sorted(due)
                    if (group, kind) in served
                ]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        found = [link for task in reading for link in task.result()]
    return links


def _place(owner: Owner) -> tuple[str, str, str]:
    return owner.namespace, owner.group, owner.kind


async def _partials(
    client: Client, resource: Resource, namespace: str, label_selector: str = ""
) -> AsyncGenerator[Metadata, None]:
    pages = client.pages(
        resource, namespace, label_selector=label_selector, bounds=MOST_OWNERS_READ, metadata=True, type=Partial
    )
    async with aclosing(pages):
        async for page in pages:
            for each in page.items:
                yield each.metadata
