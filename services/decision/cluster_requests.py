"""ClusterRequests on the hub: what is missing for Placements that nothing fits, as long as it is.

The decision says that there is one before it is written, and that there is none only once it is deleted. So whoever is
killed in between leaves what the next delivery of the same message makes good. What that misses (a request that was
under way for long, a Placement that was suspended) is looked for where there may be any: everywhere once an hour, then
where there were some.
"""

import heapq
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import msgspec

from services.decision import unfulfilled
from shared.api import ApiObject, ClusterRequest, ObjectMeta, Placement, PlacementDecision, to_dict
from shared.hub.hub import Hub
from shared.hub.names import field_manager, slice_name
from shared.hub.resources import CLUSTER_REQUESTS, DECISIONS, PLACEMENTS
from shared.kube.client import Client
from shared.kube.errors import ApiError, KubeError
from shared.kube.resources import Resource
from shared.model.refs import PlacementRef

T = TypeVar("T", bound=ApiObject)
log = logging.getLogger("moorage.decision")

FIELD_MANAGER = field_manager("decision")
TRIES = 5
"""Of a write that others write into: each is upon what was read anew."""
MOST_AT_ONCE = 500
"""That are looked at in one go, which takes two requests for each."""
LOOK_EVERYWHERE = 3600.0
"""Seconds until workspaces that had none are looked at again: another copy may have asked for some there."""

FIRST = PlacementRef(workspace="", namespace="", name="")  # of all, in the order in which they are looked at


class ClusterRequests:
    """Writes and deletes them. Failures are logged and made up for; none is raised, so that no decision waits."""

    def __init__(self, hub: Hub, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: in seconds."""
        self._hub = hub
        self._clock = clock
        self._everywhere_at = clock() + LOOK_EVERYWHERE
        self._without: set[str] = set()
        """Workspaces that had none when they were looked at, and were given none here since."""
        self._after = FIRST
        """Behind which one to go on, where there were too many at once."""

    async def ask(self, ref: PlacementRef, wanted: ClusterRequest) -> None:
        """Ask for what is missing, unless a newer attempt has spoken."""
        self._without.discard(ref.workspace)
        client = self._hub.at(ref.workspace)
        try:
            for _ in range(TRIES):
                there = await _get(client, CLUSTER_REQUESTS, ref, ClusterRequest)
                if there is None:
                    done = await _done(client.create(CLUSTER_REQUESTS, to_dict(wanted), field_manager=FIELD_MANAGER))
                elif unfulfilled.uid_of(there.metadata) != unfulfilled.uid_of(wanted.metadata):
                    await _delete(client, there.metadata)  # of an earlier Placement: what was said of it goes, too
                    done = False
                elif unfulfilled.attempt_of(there) > unfulfilled.attempt_of(wanted):
                    return
                else:
                    body = to_dict(_upon(there, wanted))
                    done = await _done(client.replace(CLUSTER_REQUESTS, body, field_manager=FIELD_MANAGER))
                if done:
                    return
        except KubeError as error:
            _failed(ref.workspace, error)

    async def withdraw(self, ref: PlacementRef, attempt: int) -> None:
        """What was asked for before this attempt is needed no more."""
        self._without.discard(ref.workspace)
        client = self._hub.at(ref.workspace)
        try:
            for _ in range(TRIES):
                there = await _get(client, CLUSTER_REQUESTS, ref, ClusterRequest)
                if there is None or unfulfilled.attempt_of(there) > attempt or await _delete(client, there.metadata):
                    return
        except KubeError as error:
            _failed(ref.workspace, error)

    async def put_in_order(self, workspaces: Iterable[str]) -> None:
        """Withdraw what is wanted no more, in those of the workspaces in which there may be any.

        At most `MOST_AT_ONCE` are looked at; the next call goes on behind them.
        """
        known = set(workspaces)
        if self._clock() >= self._everywhere_at:
            self._everywhere_at = self._clock() + LOOK_EVERYWHERE
            self._without.clear()
        self._without &= known
        after, self._after = self._after, FIRST
        room = MOST_AT_ONCE
        for workspace in sorted(each for each in known - self._without if each >= after.workspace):
            client = self._hub.at(workspace)
            try:
                found = await self._listed(client, workspace, after, room)
                room -= len(found)
                if not room:
                    self._after = _ref(workspace, found[-1])
                for each in found:
                    await _put_in_order(client, workspace, each)
            except KubeError as error:
                _failed(workspace, error)
            if not room:
                return

    async def _listed(self, client: Client, workspace: str, after: PlacementRef, most: int) -> list[ObjectMeta]:
        """The metadata of the first ClusterRequests of a workspace behind that one, at most so many."""
        first: list[ObjectMeta] = []
        self._without.add(workspace)
        try:
            async for page in client.pages(CLUSTER_REQUESTS, metadata=True, type=_Listed):
                if page.items:
                    self._without.discard(workspace)
                behind = [each.metadata for each in page.items if _ref(workspace, each.metadata) > after]
                first = heapq.nsmallest(most, first + behind, key=lambda each: _ref(workspace, each))
        except KubeError as error:
            if not (isinstance(error, ApiError) and error.not_found):  # a workspace without our kinds has none
                self._without.discard(workspace)
                raise
        return first


class _Listed(msgspec.Struct):
    """A ClusterRequest without what others may write as much of as they like."""

    metadata: ObjectMeta


async def _put_in_order(client: Client, workspace: str, there: ObjectMeta) -> None:
    """Delete it where it is wanted no more, unless it was written since it was read."""
    ref = _ref(workspace, there)
    placement = await _get(client, PLACEMENTS, ref, Placement)
    first = msgspec.structs.replace(ref, name=slice_name(ref.name, "", 0))
    decision = await _get(client, DECISIONS, first, PlacementDecision)
    if not unfulfilled.still_wanted(there, placement, decision):
        await _delete(client, there)


def _ref(workspace: str, there: ObjectMeta) -> PlacementRef:
    return PlacementRef(workspace=workspace, namespace=there.namespace, name=there.name)


def _upon(there: ClusterRequest, wanted: ClusterRequest) -> ClusterRequest:
    """What is written upon what is there: others' labels and annotations stay."""
    metadata = msgspec.structs.replace(
        there.metadata,
        labels={**there.metadata.labels, **wanted.metadata.labels},
        annotations={**there.metadata.annotations, **wanted.metadata.annotations},
        owner_references=wanted.metadata.owner_references,
    )
    return msgspec.structs.replace(wanted, metadata=metadata, status=there.status)


async def _get(client: Client, resource: Resource, ref: PlacementRef, kind: type[T]) -> T | None:
    try:
        return await client.get(resource, ref.name, ref.namespace, type=kind)
    except ApiError as error:
        if error.absent(ref.name):
            return None
        raise


async def _delete(client: Client, there: ObjectMeta) -> bool:
    """Delete it as it was read; whether it is gone. Not where somebody wrote since."""
    return await _done(
        client.delete(CLUSTER_REQUESTS, there.name, there.namespace, resource_version=there.resource_version),
        gone=there.name,
    )


async def _done(writing: Awaitable[object], gone: str = "") -> bool:
    """Whether it was written; not where others were faster. One that is `gone` is deleted."""
    try:
        await writing
    except ApiError as error:
        if gone and error.absent(gone):
            return True
        if error.conflict or error.already_exists or error.not_found:
            return False
        raise
    return True


def _failed(workspace: str, error: KubeError) -> None:
    log.warning("ClusterRequests are put in order later", extra={"workspace": workspace, "error": str(error)})
