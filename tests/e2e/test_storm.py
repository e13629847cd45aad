"""Three copies of whoever gives capacity away, killed and edited under: nothing is given twice, audited each second.

There is room for two thirds of what is asked. MOORAGE_STORM_SECONDS says how long it lasts (60 where it is not set).
"""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from services.cli.hub.auditor import ALWAYS, Discrepancy, Evidence, audit
from services.cli.hub.evidence import Witness, witness
from services.cli.support.local import LOOPBACK
from shared.broker.nats.client import NatsClient
from shared.broker.nats.connection import connect
from shared.hub.resources import PLACEMENTS
from shared.kube.errors import ApiError
from shared.kube.resources import DEPLOYMENTS
from shared.process.settings import HubSettings
from tests.e2e.system import System, running_system, until
from tests.support import worlds
from tests.support.told import told, told_twice, untold

SECONDS = float(os.environ.get("MOORAGE_STORM_SECONDS", "60"))
SEED = int(os.environ.get("MOORAGE_STORM_SEED", "1"))

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.long,
    pytest.mark.xdist_group("e2e"),
    pytest.mark.timeout(SECONDS + 540),
]

TARGETS, ROOM = 6, 4.0  # clusters, cores of each
NAMES = [f"app-{number:02}" for number in range(40)]
MOST = 4  # replicas of 0.36 cores; 2.5 of them on average: 36 cores in all
VICTIMS = ("controller", "scheduler", "decision", "binding", "status")
COPIES = dict.fromkeys(VICTIMS, 3)
ENV = {"MOORAGE_RESYNC_SECONDS": "5", "MOORAGE_RELEASE_SECONDS": "5", "MOORAGE_WAITING_INITIAL_SECONDS": "1"}
EDITORS, PAUSE = 2, 0.25  # seconds between two edits of each
BETWEEN_KILLS = 4.0  # seconds; who is killed again and again rests for up to 10 s


class Storm:
    """Who edits, who kills, and what was seen."""

    def __init__(self, system: System, eye: Witness) -> None:
        self.system = system
        self.eye = eye
        self.chance = random.Random(SEED)
        self.edits: Counter[str] = Counter()
        self.kills: Counter[str] = Counter()
        self.samples = 0
        self.seen: dict[tuple[str, str, str], Discrepancy] = {}
        self.most = {"reserved": 0.0, "applied": 0.0}

    async def edit(self) -> None:
        """One change of what a tenant asks for."""
        name = self.chance.choice(NAMES)
        what = self.chance.choices(("resize", "remove", "suspend", "resume"), weights=(6, 1, 1, 2))[0]
        user, replicas = self.system.user, self.chance.randint(1, MOST)
        with contextlib.suppress(ApiError):  # it is not there, or being deleted: that is as good
            match what:
                case "resize":
                    await user.merge_patch(DEPLOYMENTS, name, {"spec": {"replicas": replicas}}, worlds.NAMESPACE)
                case "remove":
                    await user.delete(PLACEMENTS, name, worlds.NAMESPACE)
                case _:
                    suspended = {"spec": {"suspend": what == "suspend"}}
                    await user.merge_patch(PLACEMENTS, name, suspended, worlds.NAMESPACE)
            self.edits[what] += 1

    async def ask(self) -> None:
        """Have all of them ask for something."""
        for name in NAMES:
            with contextlib.suppress(ApiError):
                await self.system.user.create(PLACEMENTS, worlds.placement(name))

    def kill(self) -> None:
        victim = f"{self.chance.choice(VICTIMS)}-{self.chance.randint(1, 3)}"
        child = self.system.running.children[victim]
        if child.pid is not None:
            with contextlib.suppress(ProcessLookupError):  # it is being started again
                os.kill(child.pid, signal.SIGKILL)
                self.kills[victim.partition("-")[0]] += 1

    async def sample(self) -> list[Discrepancy]:
        evidence = await self.eye.look()
        self.samples += 1
        found = audit(evidence)
        for each in found:
            self.seen.setdefault((each.code, each.target, each.placement), each)
        self._measure(evidence)
        return found

    def _measure(self, evidence: Evidence) -> None:
        reserved = {place: each.resources for place, each in evidence.reserved.items()}
        for word, taken in (("reserved", reserved), ("applied", evidence.applied)):
            totals: Counter[str] = Counter()
            for (_, target), resources in taken.items():
                totals[target] += resources.get("cpu", 0.0)  # type: ignore[assignment]  # cores are no whole numbers
            self.most[word] = max(self.most[word], *totals.values(), 0.0)

    async def rage(self, seconds: float) -> None:
        """Edit and kill for a while, and look every second."""
        end = time.monotonic() + seconds

        async def every(pause: float, act: Any) -> None:
            while time.monotonic() < end:
                await asyncio.gather(act(), asyncio.sleep(pause))

        async def kill() -> None:
            self.kill()

        await asyncio.gather(
            *(every(PAUSE, self.edit) for _ in range(EDITORS)),
            every(3.0, self.ask),
            every(BETWEEN_KILLS, kill),
            every(1.0, self.sample),
        )

    def report(self) -> str:
        kinds = Counter(code for code, _, _ in self.seen)
        examples = {each.code: f"{each.target} {each.placement}: {each.message}" for each in self.seen.values()}
        return (
            f"storm of {SECONDS:g} s: {self.kills.total()} kills {dict(self.kills)}, {self.edits.total()} edits"
            f" {dict(self.edits)}, {self.samples} samples; of {ROOM:g} cores at most {self.most['reserved']:.2f} were"
            f" reserved and {self.most['applied']:.2f} applied; found in motion: {dict(kinds)} {examples}"
        )


async def _told_once(url: str, system: System) -> None:
    """Each fact that is true now has its event, and none has two; what was being told by the dead is told again."""
    client = await NatsClient.connect(url, name="storm")
    try:
        lapses = await until(
            lambda: _lapses(client, system), "events of all that is so", holds=lambda found: not found, within=90
        )
        assert lapses == []
        assert told_twice(await told(client)) == []
    finally:
        await client.close()


async def _lapses(client: NatsClient, system: System) -> list[str]:
    return await untold(await told(client), system.user)


async def test_a_storm_of_kills_and_edits_gives_nothing_twice(tmp_path: Path) -> None:
    world = worlds.world(TARGETS, cpu=str(ROOM))
    async with running_system(tmp_path, world, env=ENV, copies=COPIES) as system:
        place = system.running.place
        settings = HubSettings(nats_url=place.nats, kubeconfig=place.kubeconfig, target_allow=LOOPBACK)
        bus, store = await connect("storm", settings)
        async with witness(settings, store) as eye:
            storm = Storm(system, eye)
            for name in NAMES:
                workload = worlds.deployment(name, cpu="360m", replicas=storm.chance.randint(1, MOST))
                await system.user.create(DEPLOYMENTS, workload)
            await storm.ask()
            await storm.rage(SECONDS)
            for name in NAMES:
                with contextlib.suppress(ApiError):
                    await system.user.merge_patch(PLACEMENTS, name, {"spec": {"suspend": False}}, worlds.NAMESPACE)
            calm = 0

            async def at_rest() -> bool:
                nonlocal calm
                found = await storm.sample()
                calm = calm + 1 if not found else 0
                return calm >= 5

            try:
                await until(at_rest, "an audit that finds nothing, five times", within=240, pause=1.0)
            finally:
                print(f"\n{storm.report()}")
            assert not {code for code, _, _ in storm.seen} & ALWAYS
            await _told_once(place.nats, system)
        await bus.close()
