"""Events on the hub and on NATS, followed into the picture."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from services.cli.demo.picture import DemoPicture, put
from shared.api.codec import decode_binding, decode_decision, decode_placement, decode_synctarget
from shared.broker.nats.client import NatsClient
from shared.hub.resources import BINDINGS, DECISIONS, PLACEMENTS, SYNCTARGETS
from shared.kube.client import Client
from shared.kube.informer import Informer
from shared.kube.resources import Resource
from shared.model.refs import PlacementRef, TargetRef
from shared.pipeline.messages import PIPELINE

if TYPE_CHECKING:
    from nats.aio.msg import Msg

T = TypeVar("T")


class Follower:
    """A picture that is kept up to date, and whoever waits for it to show something."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.picture = DemoPicture()
        self._clock = clock
        self._changed = asyncio.Event()

    async def until(
        self, holds: Callable[[DemoPicture], bool], within: float, shown: Callable[[DemoPicture], None] | None = None
    ) -> float:
        """The time at which the picture first shows it; raises TimeoutError after `within` seconds.

        `shown` is called with each picture on the way.
        """
        async with asyncio.timeout(within):
            while True:
                if shown is not None:
                    shown(self.picture)
                if holds(self.picture):
                    return self._clock()
                self._changed.clear()
                await self._changed.wait()

    def wake(self) -> None:
        """Have whoever waits look again."""
        self._changed.set()

    def creating(self, ref: PlacementRef) -> None:
        """A Placement is about to be created."""
        self.picture.created[ref] = self._clock()
        self._changed.set()

    def heard(self, message: "Msg") -> None:
        """A message of the pipeline."""
        self.picture.heard(message.subject)
        self._changed.set()

    async def follow(
        self, informer: Informer[T], workspace: str, keep: Callable[[PlacementRef, T | None], None]
    ) -> None:
        """Hand every change of one collection to `keep`, until cancelled."""
        async for change in informer.events():
            if change.kind != "Synced":
                namespace, name = change.key
                keep(PlacementRef(workspace=workspace, namespace=namespace, name=name), change.object)
                self._changed.set()


@asynccontextmanager
async def following(
    hub: Client, nats: str, *, placing: Iterable[str], offering: Iterable[str], clock: Callable[[], float]
) -> AsyncIterator[Follower]:
    """Follow the pipeline's messages, the workspaces in which there is placing, and those that offer clusters."""
    follower = Follower(clock)
    picture = follower.picture
    kinds: list[tuple[Resource, Callable[[bytes], Any], Callable[[PlacementRef, Any], None]]] = [
        (PLACEMENTS, decode_placement, partial(put, picture.placements)),
        (DECISIONS, decode_decision, lambda ref, decision: picture.saw_decision(ref, decision, clock())),
        (BINDINGS, decode_binding, partial(put, picture.bindings)),
    ]
    offered = (
        SYNCTARGETS,
        decode_synctarget,
        lambda ref, one: put(picture.clusters, TargetRef.of(ref).id, one),
    )
    async with AsyncExitStack() as stack:
        for workspace, (resource, decode, keep) in (
            *((workspace, kind) for workspace in placing for kind in kinds),
            *((workspace, offered) for workspace in offering),
        ):
            informer = await stack.enter_async_context(Informer(hub.cluster(workspace), resource, decode=decode))
            task = asyncio.create_task(follower.follow(informer, workspace, keep))
            stack.push_async_callback(_end, task)
        client = await NatsClient.connect(nats, name="moorage-demo")
        stack.push_async_callback(client.close)
        await client.subscribe(f"{PIPELINE}.>", follower.heard)
        yield follower


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel a follower, and let its own error out if it had one."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
