"""Questions while the workers that answer them are killed with SIGKILL: each is answered, or ends within its time."""

import asyncio
import itertools
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from services.cli.support.processes import Child
from shared.broker.bus import Bus, Unanswered
from shared.broker.nats.connection import connect
from shared.cloudevents import parse, structured
from shared.pipeline.requests import RequestSubject
from shared.process.settings import Settings
from tests.e2e.system import running_system, until
from tests.support import worlds
from tests.support.asking import data_of, request

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(500)]

STAGES = ("discovery", "policy", "scheduler", "decision")
SUBJECT = RequestSubject(worlds.TEAM, worlds.USER, "decide").subject
ASKERS = 16
STAGE_WITHIN, WITHIN = 3.0, 15.0
"""Seconds for the stages to answer intake, and for intake to answer who asks."""
HELD = 0.5  # seconds for which a copy that is to be killed is stopped, so that questions are in its hands
SAID = {"Busy", "Timeout", "Unavailable"}
"""Codes of an answer which says that the question may be asked again."""


async def ask(bus: Bus, number: int) -> str:
    """How a question was answered; or, where that copy of intake itself died, that its time was over."""
    name = f"asked-{number}"
    event = request("decide", {"placement": worlds.placement(name), "objects": [worlds.deployment(name)]}, inbox="")
    try:
        reply = await bus.ask(SUBJECT, structured(event), timeout=WITHIN)
    except Unanswered as unanswered:
        return f"nobody: {unanswered.code}"
    answer = parse(reply.payload, reply.headers)
    return data_of(answer).get("code", "") or answer.type.split(".")[-2]


async def kill(child: Child) -> None:
    """Kill a copy with questions in hand, and wait until it is back."""
    before = child.said["pid"]
    assert child.pid
    os.kill(child.pid, signal.SIGSTOP)
    await asyncio.sleep(HELD)
    os.kill(child.pid, signal.SIGKILL)
    await until(lambda: child.said["pid"] != before, f"{child.name} is back")


async def test_every_question_ends_while_each_copy_is_killed_with_some_in_hand(tmp_path: Path) -> None:
    workers = ["controller", *STAGES, "intake"]
    copies = dict.fromkeys((*STAGES, "intake"), 2)
    env = {"MOORAGE_DECIDE_SECONDS": str(STAGE_WITHIN)}
    async with running_system(tmp_path, worlds.world(3), workers=workers, copies=copies, env=env) as system:
        bus, _ = await connect("asker", Settings(nats_url=system.place.nats))
        await until(lambda: ask(bus, 0), "an answer", holds=lambda found: found == "answered")
        numbers, over = itertools.count(1), asyncio.Event()
        found: Counter[str] = Counter()
        took: list[float] = []

        async def asker() -> None:
            while not over.is_set():
                began = time.monotonic()
                found[await ask(bus, next(numbers))] += 1
                took.append(time.monotonic() - began)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(ASKERS):
                tasks.create_task(asker())
            for worker in (*STAGES, "intake"):
                asked = found.copy()
                for copy in (1, 2):
                    await kill(system.running.children[f"{worker}-{copy}"])
                print(worker, dict(found - asked))
            over.set()

        print(dict(found), f"longest {max(took):.1f} s")
        assert found["answered"]
        assert found["Timeout"], "no copy of a stage had a question in hand"
        assert found["nobody: Timeout"] <= 2 * ASKERS, "more were lost than the two copies of intake had in hand"
        assert found.keys() <= {"answered", "nobody: Timeout", *SAID}
        assert max(took) < WITHIN + 5
        assert {await ask(bus, next(numbers)) for _ in range(20)} == {"answered"}
        await bus.close()
