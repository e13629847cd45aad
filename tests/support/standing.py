"""A standing state: what the workers left of one placement, once more for each of many others, without the workers.

To have ten thousand placements placed takes minutes; to write what they would leave takes seconds. All that is named
after a placement, and all ids, are replaced; what is worked out from these (hashes, digests) is worked out anew by the
functions by which the workers do. What these work out for the placement that is there has to be in what it left, so
that a change in how they are used does not pass unnoticed. Messages that were handled are not written again.
"""

import asyncio
import itertools
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self
from uuid import uuid4

import msgspec

from services.binding.core import Collected, wanted
from services.controller.core.digest import digest
from shared.api import decode_placement
from shared.broker.store import Bucket, Store
from shared.hub.names import SYSTEM_NAMESPACE, applyset_of
from shared.hub.rendering import input_digest, source_hash
from shared.hub.requester import requester_of
from shared.hub.resources import BINDINGS, DECISIONS, PLACEMENTS
from shared.hub.workload import select
from shared.kube.client import Client
from shared.kube.resources import CONFIGMAPS, DEPLOYMENTS, EVENTS
from shared.model.refs import PlacementRef
from shared.pipeline.buckets import HEADS, REPORTS, RESERVATIONS
from tests.support import worlds

HUB = (DEPLOYMENTS, EVENTS, DECISIONS, BINDINGS, PLACEMENTS)
TARGET = ((CONFIGMAPS, SYSTEM_NAMESPACE), (DEPLOYMENTS, worlds.NAMESPACE))
BUCKETS: tuple[Bucket[Any], ...] = (RESERVATIONS, REPORTS, HEADS)
_VERSION = re.compile(rb'"version":"(\d+)"')
AT_ONCE = 20  # placements that are written by one request, whose body may have 3 MiB

Load = Callable[[Sequence[Mapping[str, Any]]], Awaitable[Sequence[str]]]
"""Puts objects, each with its cluster, into the sandbox; returns their versions."""


class Stored(NamedTuple):
    """An object, and the cluster of the sandbox that it is in."""

    cluster: str
    object: dict[str, Any]


class Written(NamedTuple):
    """An entry of a bucket."""

    bucket: str
    key: str
    value: msgspec.Raw


class Left(msgspec.Struct, frozen=True):
    """All that is there because of one placement of a Deployment in one target."""

    name: str
    objects: tuple[Stored, ...]
    entries: tuple[Written, ...]

    def replaced(self, pairs: Mapping[str, str]) -> Self:
        """The same with other texts in place of these. Raises ValueError for one that is nowhere in it."""
        text = msgspec.json.encode(self).decode()
        if missing := [each for each in pairs if each not in text]:
            raise ValueError(f"{self.name} left nothing that says {', '.join(missing)}")
        either = re.compile("|".join(map(re.escape, pairs)))
        return msgspec.json.decode(either.sub(lambda found: pairs[found.group()], text), type=type(self))

    def of(self, kind: str, *, hub: bool = True) -> dict[str, Any]:
        """Its object of a kind on the hub, or else in the target."""
        (found,) = [each.object for each in self.objects if each.object["kind"] == kind and is_hub(each.cluster) == hub]
        return found

    @property
    def ids(self) -> list[str]:
        """The uids of its objects, and the names of its Events."""
        named = [each.object["metadata"] for each in self.objects]
        events = [each.object["metadata"]["name"] for each in self.objects if each.object["kind"] == EVENTS.kind]
        return [each["uid"] for each in named] + [name.rpartition(".")[2] for name in events]

    @property
    def versions(self) -> list[str]:
        return [each.object["metadata"]["resourceVersion"] for each in self.objects]


def is_hub(cluster: str) -> bool:
    """Whether a cluster of the sandbox is a workspace, not a target."""
    return not cluster.startswith("target:")


async def left_by(name: str, hub: Client, targets: Mapping[str, Client], store: Store) -> Left:
    """What a placement of `worlds.TEAM` left on the hub, in targets and in buckets."""
    found = [Stored(worlds.TEAM, each) for kind in HUB for each in await _named(hub, kind, worlds.NAMESPACE, name)]
    for target, client in targets.items():
        for kind, namespace in TARGET:
            found += [Stored(f"target:{target}", each) for each in await _named(client, kind, namespace, name)]
    entries = [
        Written(bucket.name, raw.key, msgspec.Raw(raw.value))
        for bucket in BUCKETS
        for raw in await store.raw(bucket).entries()
        if raw.value is not None and name in raw.key
    ]
    return Left(name, tuple(found), tuple(entries))


async def _named(client: Client, kind: Any, namespace: str, name: str) -> list[dict[str, Any]]:
    page = await client.list(kind, namespace)
    found = [each for each in page.items if name in each["metadata"]["name"]]
    return [{"apiVersion": kind.api_version, "kind": kind.kind, **each} for each in found]


def copied(left: Left, name: str) -> Left:
    """What another placement, of this name, would have left. The name of the first must not occur in anything else."""
    renamed = left.replaced({left.name: name} | {each: _like(each) for each in left.ids})
    return renamed.replaced(dict(zip(worked_out(left), worked_out(renamed), strict=True)))


def _like(id: str) -> str:
    """Another id of the same form."""
    return str(uuid4()) if len(id) == len(str(uuid4())) else uuid4().hex[: len(id)]


def worked_out(left: Left) -> list[str]:
    """What the workers work out of names, ids and contents, by their own functions: hashes, digests, the ApplySet."""
    deployment = left.of(DEPLOYMENTS.kind)
    placement = decode_placement(msgspec.json.encode(left.of(PLACEMENTS.kind)))
    ref, spec = PlacementRef(workspace=worlds.TEAM, namespace=worlds.NAMESPACE, name=left.name), placement.spec
    applied = input_digest(spec, [source_hash(deployment)])
    workload, requester = [select(deployment, ref.namespace).summary], requester_of(placement)
    applyset = applyset_of(ref)
    inside = wanted(ref, spec, Collected((deployment,)), overrides=(), replicas=None, applyset=applyset)
    return [
        applied,
        digest(spec, placement.metadata.labels, requester, workload, "", (), (), applied),
        applyset,
        *(each.hash for each in inside.members),
    ]


async def stand(lefts: Iterable[Left], load: Load, store: Store) -> None:
    """Write what placements left, while no worker runs."""
    waiting = iter(lefts)
    while now := list(itertools.islice(waiting, AT_ONCE)):
        await asyncio.sleep(0)  # what was worked out took time, in which a server may have ended the connection
        items = [{"cluster": each.cluster, "object": each.object} for left in now for each in left.objects]
        versions = iter(await load(items))
        fresh = {left.name: {old: next(versions) for old in left.versions} for left in now}
        await asyncio.gather(*(_put(store, each, fresh[left.name]) for left in now for each in left.entries))


async def _put(store: Store, entry: Written, fresh: Mapping[str, str]) -> None:
    """Write an entry, which may name the version of an object that has another one by now."""

    def version(found: re.Match[bytes]) -> bytes:
        old = found.group(1).decode()
        return f'"version":"{fresh.get(old, old)}"'.encode()

    bucket = next(each for each in BUCKETS if each.name == entry.bucket)
    await store.raw(bucket).put(entry.key, _VERSION.sub(version, bytes(entry.value)))
