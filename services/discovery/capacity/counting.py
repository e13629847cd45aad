"""Reads of a target what its pods ask for, but for those of what Moorage placed there (ADR 7)."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping
from contextlib import aclosing

import msgspec

from services.discovery.capacity.pods import Link, Metadata, Owner, Partial, Pod, PodRequests, TooManyOwners, others
from shared.hub.names import OWNER_ANNOTATION, SYSTEM_NAMESPACE, UID_ANNOTATION, applyset_of, parse_owner
from shared.kube.applyset import APPLYSET_ID, APPLYSET_NAMESPACES
from shared.kube.client import Bounds, Client
from shared.kube.errors import ApiError, TooLarge
from shared.kube.resources import CONFIGMAPS, PODS, Resource
from shared.model.refs import PlacementRef
from shared.model.resources import Resources
from shared.model.target import ApiKind, Stray

PAGE = 250  # pods; a page is about 2 MB, and as many targets are read at once as are probed at once
MOST_PODS = Bounds(objects=200_000, bytes=4 << 30)  # Kubernetes is tested to 150,000 in a cluster
MOST_OWNERS_READ = Bounds(objects=50_000, bytes=512 << 20)  # of one kind in one namespace; and ApplySets
MOST_COLLECTIONS = 2_000  # kinds times namespaces in which owners are looked for
MOST_STRAYS = 100  # that are told of at once
_IN_FLIGHT = 8  # of these at once
_NOT_OVER = "status.phase!=Succeeded,status.phase!=Failed"


class NotCountable(Exception):
    """The pods cannot be counted, for a reason that lasts; the message says which."""


class PodCount(msgspec.Struct, frozen=True):
    """What the pods ask for that nothing is reserved for; and whose ApplySets are there without a reservation."""

    others: Resources
    strays: tuple[Stray, ...]
    namespaces: frozenset[str] = frozenset()  # that something is placed in, as ApplySets say


async def count(
    client: Client,
    nodes: Collection[str] | None,
    kinds: Iterable[ApiKind],
    reserved: Callable[[], Collection[PlacementRef] | None],
) -> PodCount:
    """What the pods on these nodes (None: on any), and those that wait for one, ask for; without those of placements
    that have a reservation here. `reserved` says which have, or None while that is not known: then all of ours do.

    Pods are read first, then ApplySets and reservations, then owners: each was there before what it explains, so that
    nothing of ours is taken for others' because it came just now. What left in between counts as others': it still
    takes room. Raises NotCountable, and ApiError or Unreachable for what may pass.
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
        parents, namespaces = await _applysets(client)
        placements = reserved()
        ours = parents.keys() if placements is None else {applyset_of(ref) for ref in placements}
        applysets = parents.keys() & ours
        links = await _lineage(client, tally.sums, namespaces, served) if applysets else {}
    except ApiError as error:
        if error.forbidden or error.not_found:
            raise NotCountable(str(error)) from None
        raise
    except (TooLarge, TooManyOwners) as error:
        raise NotCountable(str(error)) from None
    strays = [stray for applyset, stray in parents.items() if stray is not None and applyset not in ours]
    return PodCount(others(tally.sums, links, applysets), tuple(strays[:MOST_STRAYS]), frozenset(namespaces))


async def _applysets(client: Client) -> tuple[dict[str, Stray | None], set[str]]:
    """What Moorage placed in this target, by the id of the ApplySet, and the namespaces that it is in.

    None: the parent names no placement, or another than the one that its id is made of.
    """
    found: dict[str, Stray | None] = {}
    namespaces = {SYSTEM_NAMESPACE}
    async for parent in _partials(client, CONFIGMAPS, SYSTEM_NAMESPACE, APPLYSET_ID):
        applyset, annotations = (parent.labels or {}).get(APPLYSET_ID, ""), parent.annotations or {}
        owner = parse_owner(annotations.get(OWNER_ANNOTATION, ""))
        consistent = owner is not None and applyset_of(owner) == applyset
        found[applyset] = (
            Stray(placement=owner, uid=annotations.get(UID_ANNOTATION, "")) if owner and consistent else None
        )
        namespaces |= set(annotations.get(APPLYSET_NAMESPACES, "").split(","))
    return found, namespaces - {""}


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
