"""The steps of the demo, in order; each step waits for what is to be seen, within a bound."""

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from rich.text import Text

from services import PIPELINE
from services.cli.demo import asking, content, render
from services.cli.demo.follow import Follower, following
from services.cli.demo.picture import DemoPicture, Loss, figures
from services.cli.demo.screen import Screen
from services.cli.support.errors import CommandError, UsageError
from services.cli.support.events import SeenEvent
from services.cli.support.offers import ManifestWorld
from services.cli.support.plan import Plan
from services.cli.support.showing import line
from services.cli.support.system import Up, up
from shared.broker.bus import BusError
from shared.broker.nats.client import NatsClient
from shared.kube.auth.kubeconfig import load_kubeconfig
from shared.kube.client import Client
from shared.kube.errors import KubeError
from shared.model.refs import PlacementRef, TargetRef

WITHIN = 90.0  # seconds that any step may take
PATIENCE = 5.0  # seconds; a placement that waits longer than this for a lost cluster is not worth watching

BRISK: Mapping[str, str] = {
    "MOORAGE_PROBE_INTERVAL_SECONDS": "1",
    "MOORAGE_PROBE_TIMEOUT_SECONDS": "1",
    "MOORAGE_LOST_AFTER_SECONDS": "2",
    "MOORAGE_EVICTION_TOLERATION_SECONDS": "3",
    "MOORAGE_RETRY_MAX_SECONDS": "2",
    "MOORAGE_LOST_RETRY_SECONDS": "2",
    "MOORAGE_WRITE_SECONDS": "0.5",
}
"""Settings for an audience: what takes minutes in production, for good reasons, takes seconds here."""


async def tell(file: Path, world: ManifestWorld, screen: Screen, data: Path | None, *, keep: bool) -> None:
    """The whole demo, with everything stopped at the end. Raises CommandError when something does not get there."""
    with _folder(data) as folder:
        screen.title(f"Starting NATS, a sandbox with {len(world.targets)} clusters, and {len(PIPELINE)} workers")
        env = {name: value for name, value in BRISK.items() if name not in os.environ}
        try:
            async with (
                up(Plan(data=folder, world=file, env=env), say=screen.note, step=screen.step) as running,
                Client(load_kubeconfig(Path(running.place.kubeconfig)), user_agent="moorage-demo") as hub,
                following(
                    hub,
                    running.place.nats,
                    placing=sorted({part.workspace for part in world.content}),
                    offering=sorted({target.workspace for target in world.targets}),
                    clock=time.monotonic,
                ) as follower,
            ):
                await Story(file.parent, world, screen, running, hub, follower).tell(keep=keep)
        except (KubeError, BusError) as error:
            raise CommandError(str(error)) from None


@contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    """Where state and logs go: the empty folder that was given, or a temporary one, kept only when something failed."""
    if given is not None:
        if given.exists() and (not given.is_dir() or any(given.iterdir())):
            raise UsageError(f"{given} is not an empty folder, and the demo begins with nothing")
        yield given.absolute()
        return
    folder = Path(tempfile.mkdtemp(prefix="moorage-demo-"))
    try:
        yield folder
    except CommandError as error:
        raise CommandError(f"{error} (logs: {folder / 'logs'})") from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


class Story:
    """The steps, on a system that runs."""

    def __init__(
        self, folder: Path, world: ManifestWorld, screen: Screen, running: Up, hub: Client, follower: Follower
    ) -> None:
        self._folder = folder
        self._world = world
        self._screen = screen
        self._running = running
        self._hub = hub
        self._follower = follower
        self._picture = follower.picture
        self._published: set[PlacementRef] = set()
        self._told: set[PlacementRef | None] = set()  # of these an event said that they are ready, or refused

    async def tell(self, *, keep: bool) -> None:
        """All of it."""
        await self._clusters()
        await self._place()
        self._decisions()
        lost = await self._lose()
        self._screen.title("Summary")
        restarts = sum(child.restarts for child in self._running.children.values())
        self._screen.print(render.summary(figures(self._picture, restarts, self._screen.elapsed), lost))
        if keep:
            await self._stay()

    async def _clusters(self) -> None:
        wanted = {TargetRef.of(target).id for target in self._world.targets}
        await self._wait("every cluster is ready", lambda picture: all(map(picture.ready, wanted)))
        self._screen.title(f"{len(wanted)} clusters are on offer")
        self._screen.print(render.clusters(self._picture))

    async def _place(self) -> None:
        users = ", ".join(dict.fromkeys(part.user for part in self._world.content))
        self._screen.title(f"{users} apply what they want to run")
        nats = await NatsClient.connect(self._running.place.nats, name="moorage-demo")
        with self._screen.following():
            waiting = asyncio.create_task(
                self._wait(
                    "every placement runs or is refused",
                    lambda picture: applied.done() and picture.finished() and self._published <= self._told,
                    self._screen.show,
                )
            )
            applied = asyncio.create_task(self._apply(nats))
            applied.add_done_callback(lambda _: self._follower.wake())
            try:
                await asyncio.gather(applied, waiting)
            finally:
                applied.cancel()
                waiting.cancel()
                await nats.close()
        self._screen.print([render.stages(self._picture)])

    async def _apply(self, nats: NatsClient) -> None:
        for part in self._world.content:
            kubeconfig = Path(self._running.place.users[part.user])
            count = await content.apply(part, self._folder, kubeconfig, self._follower.creating)
            self._screen.note(f"{part.user} applied {count} objects in {part.workspace}")
            for file in part.publish:
                ref, where = await asking.publish(nats, part, self._folder / file, self._follower.creating, self._show)
                self._published.add(ref)
                self._screen.note(f"{part.user} asked for {ref.namespace}/{ref.name} over NATS, on {where}")

    def _show(self, event: SeenEvent) -> None:
        self._screen.print([Text("  ").append_text(line(event))])
        if event.word in ("Ready", "Refused"):
            self._told.add(event.placement)
            self._follower.wake()

    def _decisions(self) -> None:
        self._screen.title("What was decided, and why")
        for ref in sorted(self._picture.created):
            self._screen.print(render.decision(self._picture, ref))
        self._screen.title("What is applied, cluster by cluster")
        for ref in sorted(self._picture.created):
            self._screen.print(render.bindings(self._picture, ref))

    async def _lose(self) -> Loss | None:
        """Lose the cluster that most depends on, watch everything move, and bring it back."""
        picture = self._picture
        cluster = picture.victim(PATIENCE)
        if not cluster:
            return None
        name = TargetRef.parse(cluster).name
        affected = picture.on(cluster)
        self._screen.title(f"{name} is lost, with {len(affected)} placements on it")
        began = time.monotonic()
        await self._make_available(name, available=False)
        with self._screen.following():
            noticed = await self._wait(f"{name} is noticed to be lost", lambda now: not now.ready(cluster))
            decided = await self._wait(
                f"all placements on {name} are decided anew", lambda now: not now.on(cluster), self._screen.show
            )
            running = await self._wait(
                "all placements run elsewhere",
                lambda now: all(now.state(ref) == "running" for ref in affected),
                self._screen.show,
            )
        lost = Loss(cluster, affected, noticed - began, decided - began, running - began)
        self._screen.print(render.loss(picture, lost))

        self._screen.title(f"{name} comes back")
        began = time.monotonic()
        await self._make_available(name, available=True)
        back = await self._wait(f"{name} is ready again", lambda now: now.ready(cluster))
        clean = await self._wait(f"nothing is left on {name}", lambda now: not now.bound_on(cluster, affected))
        self._screen.note(
            f"ready after {back - began:.1f} s, what had moved away is removed there after {clean - began:.1f} s"
        )
        return lost

    async def _make_available(self, cluster: str, *, available: bool) -> None:
        """By the sandbox's own API: it refuses everything for this cluster, as if it were cut off."""
        root = urlunsplit(urlsplit(self._hub.base)._replace(path=""))
        path = f"/sandbox/clusters/{cluster}/availability"
        await self._hub.at(root).request("POST", path, body={"available": available})

    async def _wait(
        self, what: str, holds: Callable[[DemoPicture], bool], shown: Callable[[DemoPicture], None] | None = None
    ) -> float:
        try:
            return await self._follower.until(holds, WITHIN, shown)
        except TimeoutError:
            lines = "; ".join(" ".join(line.plain.split()) for line in render.unfinished(self._picture))
            raise CommandError(f"after {WITHIN:g} s it is not yet so that {what}: {lines}") from None

    async def _stay(self) -> None:
        users = {part.workspace: part.user for part in self._world.content}
        beside = Path(sys.executable).parent
        commands = f"{beside}/" if (beside / "kubectl").exists() else ""
        self._screen.title("Everything stays up until Ctrl-C; look around")
        self._screen.print(render.look_around(self._running.place, self._picture, users, commands))
        await asyncio.Event().wait()
