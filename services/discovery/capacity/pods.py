"""Requests of the pods of a cluster, and the part that Moorage placed: pods in, sums out.

Sums are kept per owner, not pods: a cluster has far fewer of these, and whose an owner is, is known only later.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import msgspec

from shared.hub.pods import effective_requests
from shared.hub.quantities import LARGEST, MOST_RESOURCES, amounts
from shared.kube.applyset import APPLYSET_PART_OF
from shared.model.resources import Resources

MOST_OWNERS = 50_000  # sums that are kept of one cluster at once
DEEPEST = 8  # owners between a pod and what was placed; Pod, Job, CronJob are two steps

_OVER = frozenset({"Succeeded", "Failed"})


class TooManyOwners(Exception):
    """A cluster's pods have more owners than we keep sums of."""


class Owner(NamedTuple):
    """The controller of an object; it lives in the same namespace."""

    namespace: str
    group: str
    kind: str
    uid: str


class Link(NamedTuple):
    """An object's place in the chain from a pod up to what was applied: the ApplySet that it is in, and its owner."""

    applyset: str
    owner: Owner | None


class _Reference(msgspec.Struct, rename="camel"):
    api_version: str = ""
    kind: str = ""
    uid: str = ""
    controller: bool = False


class Metadata(msgspec.Struct, rename="camel"):
    """The few fields of an object's metadata that matter here."""

    namespace: str = ""
    uid: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: tuple[_Reference, ...] | None = None

    @property
    def link(self) -> Link:
        """Where the object stands."""
        applyset = (self.labels or {}).get(APPLYSET_PART_OF, "")
        for found in self.owner_references or ():
            if found.controller:
                group = found.api_version.rpartition("/")[0]
                return Link(applyset, Owner(self.namespace, group, found.kind, found.uid))
        return Link(applyset, None)


class Partial(msgspec.Struct):
    """An object of which only the metadata is read."""

    metadata: Metadata = msgspec.field(default_factory=Metadata)


class _Resources(msgspec.Struct):
    requests: dict[str, str | int] | None = None


class _Container(msgspec.Struct, rename="camel"):
    resources: _Resources | None = None
    restart_policy: str | None = None

    @property
    def requests(self) -> Resources:
        return _requests(self.resources)


class _PodSpec(msgspec.Struct, rename="camel"):
    node_name: str = ""
    containers: tuple[_Container, ...] | None = None
    init_containers: tuple[_Container, ...] | None = None
    resources: _Resources | None = None
    overhead: dict[str, str | int] | None = None
    scheduling_gates: tuple[msgspec.Raw, ...] | None = None


class _PodStatus(msgspec.Struct):
    phase: str = ""


class Pod(msgspec.Struct):
    """The few fields of a Pod that matter here."""

    metadata: Metadata = msgspec.field(default_factory=Metadata)
    spec: _PodSpec = msgspec.field(default_factory=_PodSpec)
    status: _PodStatus = msgspec.field(default_factory=_PodStatus)

    def takes_room(self, nodes: Collection[str] | None) -> bool:
        """True if it takes room of these nodes (None: of any), or waits for some.

        A pod that is over takes none, and one that its gates keep from being scheduled takes none yet. On a node that
        is not among them it takes what is not counted as allocatable either.
        """
        if self.status.phase in _OVER:
            return False
        if not self.spec.node_name:
            return not self.spec.scheduling_gates
        return nodes is None or self.spec.node_name in nodes

    @property
    def requests(self) -> Resources:
        """The amounts that it takes of its node."""
        spec = self.spec
        return effective_requests(
            [container.requests for container in spec.containers or ()],
            [(container.requests, container.restart_policy == "Always") for container in spec.init_containers or ()],
            pod_level=_requests(spec.resources),
            overhead=amounts(spec.overhead or {}),
        )


def _requests(resources: _Resources | None) -> Resources:
    return amounts(resources.requests) if resources is not None and resources.requests else {}


class PodRequests:
    """The requests of all pods that take room, summed by what they belong to."""

    def __init__(self, nodes: Collection[str] | None) -> None:
        """`nodes` that can be used, by name; None: they are not known."""
        self.sums: dict[Link, Resources] = {}
        self._nodes = nodes
        self._names: set[str] = set()

    def add(self, pod: Pod) -> None:
        """Count a pod. Raises TooManyOwners."""
        if not pod.takes_room(self._nodes):
            return
        link = pod.metadata.link
        total = self.sums.get(link)
        if total is None:
            if len(self.sums) >= MOST_OWNERS:
                raise TooManyOwners(f"its pods have more owners than the {MOST_OWNERS} that we keep apart")
            total = self.sums[link] = {}
        for name, amount in pod.requests.items():
            if name not in self._names:
                if len(self._names) >= MOST_RESOURCES:
                    continue
                self._names.add(name)
            total[name] = total.get(name, 0.0) + amount


def others(sums: Mapping[Link, Resources], links: Mapping[str, Link], applysets: Collection[str]) -> Resources:
    """Requests of the pods that do not belong to a member of these ApplySets; `links` of their owners, by uid.

    Rounded to a thousandth, as quantities are, so that the order of the pods makes no difference.
    """
    total: Resources = {}
    for link, part in sums.items():
        if not _placed(link, links, applysets):
            for name, amount in part.items():
                total[name] = total.get(name, 0.0) + amount
    return {name: min(LARGEST, round(amount * 1000) / 1000) for name, amount in total.items()}


def _placed(link: Link, links: Mapping[str, Link], applysets: Collection[str]) -> bool:
    """True if one up the chain is in such a set. An owner that is gone owns nothing: what is left takes room."""
    for _ in range(DEEPEST):
        if link.applyset in applysets:
            return True
        above = links.get(link.owner.uid) if link.owner else None
        if above is None:
            return False
        link = above
    return False
