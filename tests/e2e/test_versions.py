"""Workers of an earlier state of this repository beside today's, on one NATS and one hub: messages pass both ways."""

import asyncio
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from services.cli.diagnosing.copies import running
from services.cli.support.plan import Plan
from services.cli.support.system import up
from services.registry import load_all
from shared.broker.nats.bus import NatsBus
from shared.broker.nats.connection import connect
from shared.process.settings import Settings
from tests.e2e.scaling import SCALED as WORKERS
from tests.e2e.system import System, running_system, until
from tests.support import worlds

ROOT = Path(__file__).parents[2]
EARLIER = "c653c38040db9fbe1aa44f0eff16ae967fef566a"
"""A commit whose workers have the same CRDs to write as today's, but for what was added since."""

FIRST = frozenset(("controller", "policy", "decision", "status"))
SECOND = frozenset(WORKERS) - FIRST
"""Every second stage: with one half of each version, every message between stages is from one to the other."""

TELL_THEN = frozenset(("discovery", "decision", "binding", "status"))
"""The workers of that commit that tell that they are there."""

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(540)]


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a wheel of that commit would install; skips where this clone is too shallow to have it."""
    git = ["git", "-C", str(ROOT), "archive", EARLIER, "services", "shared"]
    found = subprocess.run(git, capture_output=True, timeout=60)
    if found.returncode:
        pytest.skip(f"there is no commit {EARLIER[:7]} here to run workers of: {found.stderr.decode().strip()}")
    folder = tmp_path_factory.mktemp("earlier")
    with tarfile.open(fileobj=io.BytesIO(found.stdout)) as archive:
        archive.extractall(folder, filter="data")
    loads = [sys.executable, "-c", "import shared; print(shared.__path__[0])"]
    loaded = subprocess.run(loads, env={**os.environ, **loading(folder)}, capture_output=True, text=True, timeout=60)
    assert loaded.stdout.strip() == str(folder / "shared"), loaded.stderr
    return folder


def loading(folder: Path) -> dict[str, str]:
    """The environment of a process that takes Moorage from a folder, and from nowhere else."""
    return {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}


class Fleet:
    """One copy of each worker, some of an earlier version; who is replaced ends when the other is at work."""

    def __init__(self, system: System, folder: Path, earlier: Path) -> None:
        self._system = system
        self._folder = folder
        self._earlier = loading(earlier)
        self._running: dict[tuple[str, bool], AsyncExitStack] = {}

    async def run(self, of_earlier: Iterable[str]) -> None:
        """Have these be of the earlier version, and all others of today's."""
        chosen = {(name, name in of_earlier) for name in WORKERS}
        await asyncio.gather(*(self._start(*each) for each in chosen - self._running.keys()))
        await self._end(self._running.keys() - chosen)

    async def close(self) -> None:
        await self._end(set(self._running))

    async def _start(self, name: str, is_earlier: bool) -> None:
        place = self._system.place
        plan = Plan(
            data=self._folder / f"{name}-{'earlier' if is_earlier else 'today'}",
            nats=place.nats,
            kubeconfig=place.kubeconfig,
            workers=(name,),
            env={"MOORAGE_TRUSTED_PROVIDERS": worlds.PLATFORM, **(self._earlier if is_earlier else {})},
        )
        stack = AsyncExitStack()
        await stack.enter_async_context(up(plan))
        self._running[name, is_earlier] = stack

    async def _end(self, chosen: Iterable[tuple[str, bool]]) -> None:
        await asyncio.gather(*(self._running.pop(each).aclose() for each in list(chosen)))


@asynccontextmanager
async def fleet(folder: Path, earlier: Path) -> AsyncIterator[tuple[System, Fleet]]:
    """A hub and its clusters without workers, and whoever starts them."""
    async with running_system(folder, worlds.world(3), workers=()) as system:
        found = Fleet(system, folder, earlier)
        try:
            yield system, found
        finally:
            await found.close()


def system_tells(system: System) -> Callable[[], Awaitable[list[tuple[str, bool]]]]:
    """What `moorage version --running` lists: the worker of each copy, and whether it tells its version."""

    async def tells() -> list[tuple[str, bool]]:
        bus, store = await connect("e2e", Settings(nats_url=system.place.nats))
        try:
            assert isinstance(bus, NatsBus)
            return sorted((each.worker, bool(each.version)) for each in await running(bus.client, store, load_all()))
        finally:
            await bus.close()

    return tells


def said(of_earlier: Iterable[str]) -> list[tuple[str, bool]]:
    """What it has to be with these of the earlier version."""
    return sorted((name, name not in of_earlier) for name in WORKERS if name not in of_earlier or name in TELL_THEN)


async def test_a_release_is_rolled_out_stage_by_stage_and_back_with_placements_under_way(
    tmp_path: Path, earlier: Path
) -> None:
    async with fleet(tmp_path, earlier) as (system, workers):
        names: list[str] = []
        for of_earlier in (set(WORKERS), FIRST, SECOND, set(WORKERS), frozenset[str]()):
            names.append(f"during-{len(names)}")
            rolling = asyncio.create_task(workers.run(of_earlier))
            await system.place_app(names[-1])
            await rolling
            await until(
                system_tells(system), "who runs what", holds=lambda found, of=of_earlier: found == said(of), within=120
            )
            names.append(f"with-{len(names)}")
            await system.place_app(names[-1])
            for name in names:
                await until(lambda name=name: system.ready(name), f"{name} is Ready with {set(of_earlier)}", within=120)
        for name in names:
            assert await system.placed(name) == await system.chosen(name)
            assert (await system.uid((await system.chosen(name))[0], name))[1] == 1, f"{name} was changed on the way"
